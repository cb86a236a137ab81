"""Hands the thresholds of a checkpoint to the metrics."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel
from mmengine.runner import BaseLoop
from mmpretrain.registry import HOOKS

from capnet_mm.evaluation import META_KEY, LongTailMAP

from ..unwrap import unwrap_distributed


@HOOKS.register_module()
class CalibrationHook(Hook):
    """Has :class:`~capnet_mm.evaluation.LongTailMAP` judge a checkpoint's thresholds.

    ``tools/calibrate.py`` writes thresholds and calibration into the meta of a
    checkpoint. In a run that trains they are not used, since training changes the
    weights that they belong to; the checkpoints that it saves have none.

    Examples:
        >>> custom_hooks = [dict(type='CalibrationHook')]
    """

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Tell the metrics of a run that does not train.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What was read.
        """
        if isinstance(runner._train_loop, BaseLoop):
            return
        stored = checkpoint.get("meta", {}).get(META_KEY)
        loops = (runner._val_loop, runner._test_loop)
        for loop in (loop for loop in loops if isinstance(loop, BaseLoop)):
            for metric in loop.evaluator.metrics:
                if isinstance(metric, LongTailMAP):
                    metric.calibration = stored
        if stored is not None:
            _compare_views(runner, stored)


def _compare_views(runner, stored: dict) -> None:
    views = {True: "several views", False: "one view"}
    found_with = bool(stored.get("tta"))
    tested_with = isinstance(unwrap_distributed(runner.model), BaseTTAModel)
    if found_with != tested_with:
        print_log(
            f"The checkpoint's thresholds were found with {views[found_with]} of each "
            f"image, this run takes {views[tested_with]}: its probabilities are less "
            "well calibrated. Run tools/calibrate.py "
            f"{'with' if tested_with else 'without'} --tta.",
            logger="current",
            level=logging.WARNING,
        )
