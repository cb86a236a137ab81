"""Average precision of many classes at once, in numpy."""

import numpy as np

# About 4M entries a chunk: some 100 MB of temporary arrays, whatever N and C.
_CHUNK_ENTRIES = 2**22


def average_precision(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    r"""Non-interpolated average precision of every class.

    .. math::
        AP_c = \sum_k (R_k - R_{k-1}) P_k

    over the *distinct* scores of class c from high to low, where
    :math:`P_k, R_k` are precision and recall when all images that score at least
    the k-th of them are retrieved. Images with equal scores are thus retrieved
    together, and their order does not matter: the definition (and the numbers) of
    scikit-learn's ``average_precision_score``.

    Only the order of the scores within a class counts, so logits serve as well as
    probabilities, and better: a saturated sigmoid makes ties. Scores are compared
    in the precision they come in.

    Args:
        scores (np.ndarray): (N, C) floating-point scores.
        targets (np.ndarray): (N, C), 1 positive, 0 negative, -1 unknown. An
            unknown entry is left out of that class's average precision.

    Returns:
        np.ndarray: (C,) float64 in [0, 1]; NaN for a class without a positive.

    Raises:
        ValueError: The shapes differ or are not (N, C), a score is NaN, or a
            target is none of 1, 0, -1.

    Examples:
        >>> import numpy as np
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
    chunks = [
        _average_precision_rows(
            # One class a row: sorting is fastest along contiguous memory.
            np.ascontiguousarray(scores[:, start : start + step].T),
            np.ascontiguousarray(targets[:, start : start + step].T),
            first_class=start,
        )
        for start in range(0, num_classes, step)
    ]
    return np.concatenate(chunks) if chunks else np.empty(0)


def _average_precision_rows(
    scores: np.ndarray, targets: np.ndarray, first_class: int
) -> np.ndarray:
    """Average precision of every row of (C', N) scores and targets."""
    _check_values(scores, targets, first_class)
    num_classes, num_images = scores.shape

    order = np.argsort(scores, axis=1)[:, ::-1]  # any order within a tie will do
    scores = np.take_along_axis(scores, order, axis=1)
    targets = np.take_along_axis(targets, order, axis=1)

    # A tie ends where the next score differs, and at the end of the row.
    tie_ends = np.ones(scores.shape, dtype=bool)
    np.not_equal(scores[:, 1:], scores[:, :-1], out=tie_ends[:, :-1])
    # int32 counts up to 2 billion images, at half the memory of int64.
    positives = np.cumsum(targets == 1, axis=1, dtype=np.int32)
    retrieved = np.cumsum(targets >= 0, axis=1, dtype=np.int32)
    num_positives = positives[:, -1].astype(np.float64)

    rows, columns = np.nonzero(tie_ends)
    positives = positives[rows, columns].astype(np.float64)
    retrieved = retrieved[rows, columns]
    # Positives that each tie adds; the count starts anew with every row.
    new_positives = np.diff(positives, prepend=0.0)
    row_starts = np.searchsorted(rows, np.arange(num_classes))
    new_positives[row_starts] = positives[row_starts]
    # A tie of unknown entries only may come first: nothing retrieved, nothing added.
    precision = positives / np.maximum(retrieved, 1)

    area = np.bincount(rows, weights=new_positives * precision, minlength=num_classes)
    result = np.full(num_classes, np.nan)
    np.divide(area, num_positives, out=result, where=num_positives > 0)
    return result


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
