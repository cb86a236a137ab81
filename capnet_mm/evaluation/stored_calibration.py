"""Thresholds and calibration as a checkpoint's meta holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .calibration import Calibration
from .thresholds import Thresholds

# Where they lie in a checkpoint's meta.
META_KEY = "calibration"


@dataclass(frozen=True)
class StoredCalibration:
    """Calibrated probabilities of some classes, and thresholds over which they count.

    Attributes:
        classes: Names of the C classes.
        scale: (C,).
        bias: (C,). A calibrated probability is sigmoid(scale * logit + bias).
        thresholds: (C,) calibrated probabilities; a class that reaches its threshold is
            predicted.
    """

    classes: tuple[str, ...]
    scale: np.ndarray
    bias: np.ndarray
    thresholds: np.ndarray

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, (N, C) float64, of logits (N, C)."""
        return sigmoid(self.scale * np.asarray(logits, np.float64) + self.bias)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(0, -np.asarray(x, np.float64)))


def calibration_meta(
    classes: Sequence[str], calibration: Calibration, thresholds: Thresholds, **facts
) -> dict:
    """Describe a calibration with plain Python values, for a checkpoint's meta.

    Args:
        classes: Names of the C classes.
        calibration: Scale and bias.
        thresholds: On calibrated logits.
        **facts: How they were found.

    Returns:
        ``classes``, ``scale`` (float), ``bias`` ([C]), ``thresholds`` ([C], calibrated
        probabilities), ``shared_bias``, ``shared_threshold``, ``prior_weight`` (λ),
        ``strength`` (k) and the facts. ``torch.load(weights_only=True)`` reads it.
    """
    return dict(
        classes=list(classes),
        scale=float(calibration.scale),
        bias=calibration.bias.tolist(),
        thresholds=sigmoid(thresholds.values).tolist(),
        shared_bias=float(calibration.shared_bias),
        shared_threshold=float(sigmoid(thresholds.shared)),
        prior_weight=float(calibration.prior_weight),
        strength=float(thresholds.strength),
        **facts,
    )


def read_calibration(
    stored: Mapping, classes: Sequence[str] | None = None, allow_new: bool = False
) -> StoredCalibration:
    """Read what :func:`calibration_meta` has written, in the order of other names.

    Args:
        stored: ``meta['calibration']`` of a checkpoint.
        classes: Names in the wanted order. Defaults to None: the stored order.
        allow_new: Whether classes that it does not know get the shared bias and
            threshold. Defaults to False.

    Returns:
        The calibration of these classes.

    Raises:
        ValueError: A class is not known, and ``allow_new`` is False.
    """
    names = list(stored["classes"])
    wanted = names if classes is None else list(classes)
    missing = sorted(set(wanted) - set(names))
    if missing and not allow_new:
        raise ValueError(
            f"The checkpoint's thresholds are for the classes {names}; there are none "
            f"for {missing}. Run tools/calibrate.py for this model and these classes, "
            "or set use_calibration=False in LongTailMAP."
        )
    scale = np.broadcast_to(np.asarray(stored["scale"], np.float64), len(names))

    def ordered(values: Sequence[float], shared: float) -> np.ndarray:
        known = dict(zip(names, values, strict=True))
        return np.array([known.get(name, shared) for name in wanted], np.float64)

    return StoredCalibration(
        tuple(wanted),
        ordered(scale, float(scale.mean())),
        ordered(stored["bias"], stored.get("shared_bias", 0.0)),
        ordered(stored["thresholds"], stored.get("shared_threshold", 0.5)),
    )
