"""Average precision of many classes at once, in numpy."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# About 2M entries a chunk: some 40 MB of temporary arrays for each processor,
# whatever N and C.
_CHUNK_ENTRIES = 2**21


def average_precision(
    scores: np.ndarray, targets: np.ndarray, first_class: int = 0
) -> np.ndarray:
    r"""Compute the non-interpolated average precision of every class.

    .. math::
        AP_c = \sum_k (R_k - R_{k-1}) P_k

    over the *distinct* scores of class c from high to low, with :math:`P_k, R_k` when
    all images that score at least the k-th are retrieved. Equal scores are thus
    retrieved together: the definition (and the numbers) of scikit-learn's
    ``average_precision_score``.

    Only the order of the scores within a class counts, so logits serve as well as
    probabilities, and better: a saturated sigmoid makes ties. Scores are compared
    in the precision they come in.

    Args:
        scores (np.ndarray): (N, C) floating-point scores.
        targets (np.ndarray): (N, C), 1 positive, 0 negative, -1 unknown. An
            unknown entry is left out of that class's average precision.
        first_class (int): Number of the first class, for messages. Defaults to 0.

    Returns:
        np.ndarray: (C,) float64 in [0, 1]; NaN for a class without a positive.

    Raises:
        ValueError: The shapes differ or are not (N, C), a score is NaN, or a
            target is none of 1, 0, -1.

    Examples:
        >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
        >>> targets = np.array([[1, 0], [0, 0], [1, 0]])
        >>> average_precision(scores, targets).round(4)
        array([0.8333,    nan])
    """
    scores, targets = np.asarray(scores), np.asarray(targets)
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(
            "scores and targets must both have the shape (images, classes), got "
            f"{scores.shape} and {targets.shape}."
        )
    num_images, num_classes = scores.shape
    if num_images == 0:
        return np.full(num_classes, np.nan)

    step = max(1, _CHUNK_ENTRIES // num_images)

    def of_chunk(start: int) -> np.ndarray:
        return _average_precision_rows(
            # One class a row: sorting is fastest along contiguous memory.
            np.ascontiguousarray(scores[:, start : start + step].T),
            np.ascontiguousarray(targets[:, start : start + step].T),
            first_class=first_class + start,
        )

    # numpy sorts and copies without holding Python's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        chunks = list(pool.map(of_chunk, range(0, num_classes, step)))
    return np.concatenate(chunks) if chunks else np.empty(0)


def _average_precision_rows(
    scores: np.ndarray, targets: np.ndarray, first_class: int
) -> np.ndarray:
    """Average precision of every row of (C', N) scores and targets."""
    _check_values(scores, targets, first_class)
    if scores.dtype == np.float16:  # its largest whole number is 65,504
        scores = scores.astype(np.float32)
    result = np.full(len(scores), np.nan)
    for row, (score, target) in enumerate(zip(scores, targets, strict=True)):
        positives = np.sort(score[target == 1])
        if len(positives):
            result[row] = _precision_at(positives, score[target >= 0]).mean()
    return result


def _precision_at(positives: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Precision when all that score at least as high as a positive are retrieved.

    The mean over the positives is the average precision: each adds 1 / P of
    recall at its own threshold. So no image's place in the ranking is needed but
    theirs.

    Args:
        positives: Scores of the positives, ascending, (P,).
        known: Scores of positives and negatives in any order.

    Returns:
        Precisions, (P,) float64.
    """
    true = len(positives) - np.searchsorted(positives, positives, side="left")
    return true / _count_at_least(known, positives)


def _count_at_least(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many scores reach each threshold, exactly.

    Scores are counted in as many bins of equal width as there are scores; only
    those that share a bin with a threshold are sorted. A score's bin never falls as
    the score rises, whatever the rounding. Takes 0.6 of the time of sorting all
    where numpy's sort is slow (with AVX-512 on AMD's Zen 4).

    Args:
        scores: In any order; the thresholds are among them.
        thresholds: Ascending.
    """
    lowest = thresholds[0]
    scores = scores[scores >= lowest]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scale = scores.dtype.type(len(scores)) / (scores.max() - lowest)
    if not 0 < scale < np.inf:  # all equal, or infinite scores among them
        return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")
    bins = ((scores - lowest) * scale).astype(np.int32)
    own_bins = ((thresholds - lowest) * scale).astype(np.int32)
    in_bin = np.bincount(bins)
    shared = np.zeros(len(in_bin), dtype=bool)
    shared[own_bins] = True
    near = np.sort(scores[shared[bins]])
    far_above = np.cumsum(np.where(shared, 0, in_bin)[::-1])[::-1][own_bins]
    return far_above + len(near) - np.searchsorted(near, thresholds, side="left")


def _check_values(scores: np.ndarray, targets: np.ndarray, first_class: int) -> None:
    not_a_number = np.isnan(scores)
    if not_a_number.any():
        row, column = np.argwhere(not_a_number)[0]
        raise ValueError(
            f"The score of image {column} for class {first_class + row} is NaN (as "
            f"are {not_a_number.sum() - 1} more among {scores.size} scores): NaN "
            "cannot be ranked. The model's output is broken; look for a diverged "
            "training or an overflow in half precision."
        )
    known = (targets == 1) | (targets == 0) | (targets == -1)
    if not known.all():
        row, column = np.argwhere(~known)[0]
        raise ValueError(
            f"The target of image {column} for class {first_class + row} is "
            f"{targets[row, column]}: expected 1 (positive), 0 (negative) or -1 "
            "(unknown)."
        )
