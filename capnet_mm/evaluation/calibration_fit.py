"""Finds thresholds and a calibration on the images of an evaluation."""

import numpy as np
from mmengine.logging import print_log
from mmpretrain.registry import METRICS

from capnet_mm.tables import Table

from .calibration import (
    choose_calibration,
    log_loss,
    reliability_bins,
    split_folds,
)
from .f1_scores import f1_scores
from .long_tail_map import LongTailMAP, stack_logits
from .stored_calibration import calibration_meta, sigmoid
from .thresholds import choose_strength, shrunk_thresholds

# Into five folds each.
_NUM_SPLITS = 4


@METRICS.register_module()
class CalibrationFit(LongTailMAP):
    """Finds what ``tools/calibrate.py`` writes into a checkpoint.

    The scores it returns are cross-validated: each image is judged by a calibration
    and thresholds that were found without it. ``log_loss`` and ``ECE`` are those of
    all known labels, ``…_before`` of the sigmoid of the logits as they are;
    ``mF1``, ``CF1`` and ``OF1`` (in percent) are those of the thresholds,
    ``…_before`` those of 0.5 before calibration.

    Args:
        precision (float, optional): Wanted precision, of which the thresholds with
            most recall are taken. Defaults to None: the highest F1.
        **kwargs: Those of :class:`LongTailMAP`.

    Attributes:
        fitted (dict | None): Calibration and thresholds, see
            :func:`~capnet_mm.evaluation.calibration_meta`; None before an
            evaluation, and in processes other than the main one.

    Raises:
        ValueError: ``precision`` is not between 0 and 1.
    """

    def __init__(self, precision: float | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        if precision is not None and not 0 < precision < 1:
            raise ValueError(f"precision={precision}: expected a number in (0, 1).")
        self.precision = precision
        self.fitted: dict | None = None

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Find calibration and thresholds.

        Args:
            results (list[dict]): What :meth:`process` kept of every image.

        Returns:
            dict[str, float]: Cross-validated scores.

        Raises:
            ValueError: There are too few images, or no positive label.
        """
        logits, targets = stack_logits(results)
        names = self._class_names(logits.shape[1])
        splits = [split_folds(len(logits), seed=seed) for seed in range(_NUM_SPLITS)]
        calibration, held_out = choose_calibration(logits, targets, splits[0])
        strength, predicted = choose_strength(
            logits, targets, calibration.prior_weight, splits, self.precision
        )
        thresholds = shrunk_thresholds(
            calibration.apply(logits), targets, strength, self.precision
        )
        self.fitted = calibration_meta(
            names,
            calibration,
            thresholds,
            wanted="f1" if self.precision is None else f"precision={self.precision:g}",
            num_images=len(logits),
            num_positives=(targets == 1).sum(axis=0).tolist(),
        )
        _log_thresholds(self.fitted)
        before = _judge(logits, logits >= 0, targets)
        after = _judge(held_out, predicted, targets)
        return {f"{name}_before": value for name, value in before.items()} | after


def _judge(
    logits: np.ndarray, predicted: np.ndarray, targets: np.ndarray
) -> dict[str, float]:
    bins = reliability_bins(sigmoid(logits), targets)
    f1 = {name: 100 * value for name, value in f1_scores(predicted, targets).items()}
    return dict(
        log_loss=log_loss(logits, targets), ECE=bins.expected_calibration_error, **f1
    )


def _log_thresholds(fitted: dict) -> None:
    columns = (fitted[key] for key in ("classes", "num_positives", "thresholds"))
    rows = [
        (name, f"{positives:,}", f"{threshold:.3f}")
        for name, positives, threshold in zip(*columns, strict=True)
    ]
    table = Table(("class", "positives", "threshold"), rows)
    print_log(
        "Thresholds, as calibrated probabilities\n" + table.to_text(),
        logger="current",
    )
