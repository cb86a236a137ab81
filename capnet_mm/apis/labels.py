"""From logits to labels: calibration and thresholds."""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from ..evaluation.stored_calibration import StoredCalibration, read_calibration


def calibration_of(
    stored: Mapping | None, classes: Sequence[str]
) -> StoredCalibration | None:
    """Read what a checkpoint's meta says of calibration.

    Args:
        stored (Mapping, optional): ``meta['calibration']``, as ``tools/calibrate.py``
            writes it.
        classes (Sequence[str]): Classes in use; new words get the shared values.

    Returns:
        StoredCalibration | None: None without an entry, or for other classes
        altogether.
    """
    if not stored or not set(stored["classes"]) & set(classes):
        return None
    return read_calibration(stored, classes, allow_new=True)


def choose_thresholds(
    thr: float | Mapping[str, float] | str | None,
    classes: Sequence[str],
    calibration: StoredCalibration | None,
    default: float,
) -> np.ndarray:
    """Say from which probability each class is predicted.

    Args:
        thr: One number for all; numbers by name, where the others keep their default;
            ``'calibrated'``; or None, calibrated ones where there are some.
        classes: Names of the C classes.
        calibration: What was found by calibration, if anything.
        default: Threshold where nothing was.

    Returns:
        Thresholds, (C,).

    Raises:
        ValueError: No such class, no calibration, or a number outside 0…1.
    """
    if isinstance(thr, str) and thr != "calibrated":
        raise ValueError(
            f"thr={thr!r}: expected a number, numbers by class name, or 'calibrated'."
        )
    if thr == "calibrated" and calibration is None:
        raise ValueError(
            "thr='calibrated', but the checkpoint holds no thresholds: find them with "
            "tools/calibrate.py CONFIG CHECKPOINT."
        )
    if isinstance(thr, int | float):
        values = np.full(len(classes), float(thr))
    elif calibration is not None:
        values = calibration.thresholds.copy()
    else:
        values = np.full(len(classes), default)
    if isinstance(thr, Mapping):
        for name, value in thr.items():
            values[_index(name, classes)] = value
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"thr={thr!r}: thresholds are probabilities, from 0 to 1.")
    return values


def choose_labels(
    scores: np.ndarray, thresholds: np.ndarray, has_thr: bool, topk: int | None
) -> list[int]:
    """Name the classes that are predicted, the most probable first.

    Args:
        scores: (C,) probabilities.
        thresholds: (C,), reached by what is predicted.
        has_thr: Whether thresholds were asked for.
        topk: At most so many classes, where thresholds were asked for, else just so
            many. None: all that reach their threshold.

    Returns:
        Indices of classes.

    Raises:
        ValueError: ``topk`` is below 1.
    """
    if topk is not None and topk < 1:
        raise ValueError(f"topk must be at least 1, got {topk}.")
    order = np.argsort(-scores, kind="stable")
    if topk is None or has_thr:
        order = order[scores[order] >= thresholds[order]]
    return order[:topk].tolist()


def _index(name: str, classes: Sequence[str]) -> int:
    if name not in classes:
        close = ", ".join(difflib.get_close_matches(name, classes)) or "none"
        raise ValueError(
            f"thr names {name!r}, which is no class of the model. Close names: {close}."
        )
    return list(classes).index(name)
