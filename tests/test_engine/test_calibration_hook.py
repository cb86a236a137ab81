"""CalibrationHook: which runs judge a checkpoint's thresholds."""

from types import SimpleNamespace

import pytest
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.model import BaseTTAModel
from mmengine.runner import BaseLoop
from torch import nn

from capnet_mm.engine import CalibrationHook
from capnet_mm.evaluation import LongTailMAP

STORED = dict(classes=["dog"], scale=1.0, bias=[0.0], thresholds=[0.4], tta=False)
CHECKPOINT = dict(meta=dict(epoch=1, calibration=STORED))


class Loop(BaseLoop):
    """A loop with a metric and no data."""

    def __init__(self):
        self.evaluator = Evaluator(LongTailMAP())

    def run(self):
        pass


class Training(BaseLoop):
    """A loop that trains nothing."""

    def __init__(self):
        pass

    def run(self):
        pass


class Ensemble(BaseTTAModel):
    """Several views."""

    def __init__(self):
        nn.Module.__init__(self)

    def merge_preds(self, data_samples_list):
        return data_samples_list


def run(checkpoint, train_loop=None, model=None):
    """Load a checkpoint; return what the metric of the test knows."""
    loop = Loop()
    # Loops that a run does not use stay configs.
    runner = SimpleNamespace(
        _train_loop=train_loop or dict(), _val_loop=None, _test_loop=loop, model=model
    )
    CalibrationHook().after_load_checkpoint(runner, checkpoint)
    return loop.evaluator.metrics[0].calibration


@pytest.fixture
def warnings_of(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield lambda: [r.getMessage() for r in caplog.records if r.levelno == 30]
    logger.removeHandler(caplog.handler)


def test_a_test_judges_the_thresholds_of_its_checkpoint(warnings_of):
    assert run(CHECKPOINT, model=nn.Linear(1, 1)) == STORED
    assert warnings_of() == []


@pytest.mark.parametrize("checkpoint", [dict(meta=dict(epoch=1)), dict()])
def test_a_checkpoint_without_thresholds_tells_nothing(checkpoint):
    assert run(checkpoint, model=nn.Linear(1, 1)) is None


def test_a_run_that_trains_does_not_judge_thresholds_of_other_weights():
    assert run(CHECKPOINT, train_loop=Training(), model=nn.Linear(1, 1)) is None


def test_other_views_than_those_the_thresholds_were_found_with_are_a_warning(
    warnings_of,
):
    model = Ensemble()
    assert run(CHECKPOINT, model=model) == STORED
    (warning,) = warnings_of()
    assert "found with one view" in warning and "takes several views" in warning
    assert "tools/calibrate.py with --tta" in warning
