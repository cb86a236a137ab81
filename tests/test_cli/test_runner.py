"""The runner of the tools."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch import nn

from capnet_mm.cli import build_runner


@MODELS.register_module(force=True)
class OneWeight(BaseModel):
    """A model of one weight, which may fail in its first step."""

    def __init__(self, fails=False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.fails = fails

    def forward(self, *inputs, mode="tensor"):
        if self.fails:
            raise RuntimeError("no memory")
        return dict(loss=(self.weight * torch.stack(inputs)).sum())


@pytest.fixture
def config(tmp_path):
    def config(lr, **model):
        path = tmp_path / "config" / "run.py"
        path.parent.mkdir(exist_ok=True)
        loader = "batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False)"
        path.write_text(
            f"model = dict(type='OneWeight', **{model})\n"
            f"optim_wrapper = dict(optimizer=dict(type='SGD', lr={lr}))\n"
            f"train_dataloader = dict({loader})\n"
            "train_cfg = dict(by_epoch=True, max_epochs=1)\n"
            f"work_dir = {str(tmp_path / 'work')!r}\n"
            "default_scope = 'mmpretrain'\n"
            f"experiment_name = 'run{lr}'\n"
        )
        cfg = Config.fromfile(path)
        cfg.train_dataloader.dataset = [torch.ones(1), torch.ones(1)]
        return cfg

    return config


def test_an_earlier_runs_config_is_replaced_by_the_first_iteration(config, tmp_path):
    written = tmp_path / "work" / "run.py"
    build_runner(config(0.1))
    assert "lr=0.1" in written.read_text()  # nothing was there
    later = build_runner(config(0.2))
    assert "lr=0.1" in written.read_text()
    later.train()
    assert "lr=0.2" in written.read_text()
    with pytest.raises(RuntimeError, match="no memory"):
        build_runner(config(0.3, fails=True)).train()
    assert "lr=0.2" in written.read_text()


def test_a_runner_of_ones_own_is_taken_by_its_name(config):
    @RUNNERS.register_module(force=True)
    class OwnRunner(Runner):
        pass

    cfg = config(0.1)
    assert type(build_runner(cfg)) is not OwnRunner
    cfg.runner_type = "OwnRunner"
    cfg.experiment_name = "own"
    assert type(build_runner(cfg)) is OwnRunner
