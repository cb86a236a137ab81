"""From logits to labels: calibration and thresholds."""

import difflib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Calibration(NamedTuple):
    """What ``tools/calibrate.py`` found, by the classes in use.

    Probabilities are sigmoid(scale * logit + bias).

    Attributes:
        thresholds: (C,), of calibrated probabilities.
        scale: (C,).
        bias: (C,).
    """

    thresholds: np.ndarray
    scale: np.ndarray
    bias: np.ndarray


def read_calibration(entry: dict | None, classes: Sequence[str]) -> Calibration | None:
    """Read what a checkpoint's meta says of calibration.

    Args:
        entry (dict, optional): ``meta['calibration']``: ``classes``, ``thresholds``
            (C,), and ``scale`` and ``bias``, a number or (C,).
        classes (Sequence[str]): Classes in use. Those that were not calibrated, as
            new words, get the mean over those that were.

    Returns:
        Calibration | None: None without an entry, or for other classes altogether.

    Raises:
        ValueError: The entry has not as many numbers as classes.
    """
    if not entry:
        return None
    known = {name: index for index, name in enumerate(entry["classes"])}
    if not known.keys() & set(classes):
        return None

    def by_class(key: str) -> np.ndarray:
        stored = np.asarray(entry[key], dtype=np.float64)
        if stored.ndim and len(stored) != len(known):
            raise ValueError(
                f"The checkpoint's calibration has {len(stored)} {key} for "
                f"{len(known)} classes: run tools/calibrate.py anew."
            )
        stored = np.broadcast_to(stored, len(known))
        mean = stored.mean()
        return np.array([stored[known[n]] if n in known else mean for n in classes])

    return Calibration(by_class("thresholds"), by_class("scale"), by_class("bias"))


def choose_thresholds(
    thr: float | Mapping[str, float] | str | None,
    classes: Sequence[str],
    calibration: Calibration | None,
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
