"""F1 of predicted labels, as multi-label work reports it."""

from collections.abc import Sequence

import numpy as np


def f1_scores(
    predicted: np.ndarray, targets: np.ndarray, classes: Sequence[int] | None = None
) -> dict[str, float]:
    r"""Compute mF1, CF1 and OF1.

    With :math:`P_c = TP_c / (TP_c + FP_c)` and :math:`R_c = TP_c / n_c`,

    .. math::
        mF1 = \mathrm{mean}_c \frac{2 P_c R_c}{P_c + R_c}, \qquad
        CF1 = \frac{2 \bar P \bar R}{\bar P + \bar R}, \qquad
        OF1 = \frac{2 \sum TP_c}{\sum (2 TP_c + FP_c + FN_c)}.

    mF1 is the macro F1 of scikit-learn and of MMPretrain's ``MultiLabelMetric``;
    CF1, of the means of precision and recall, and OF1, of all labels together, are
    those of ML-GCN (Chen et al., CVPR 2019) and ASL (Ridnik et al., ICCV 2021). The
    means leave out classes without a positive, as mAP does; OF1 counts their false
    positives. A class that is never predicted has P = 0.

    Args:
        predicted: (N, C) bool.
        targets: (N, C), 1 positive, 0 negative, -1 unknown and left out.
        classes: Indices of the classes to count. Defaults to None: all.

    Returns:
        ``mF1``, ``CF1`` and ``OF1`` in [0, 1]; NaN where no class has a positive.

    Examples:
        >>> predicted = np.array([[True, True], [False, True]])
        >>> f1_scores(predicted, np.array([[1, 1], [1, 0]]))
        {'mF1': 0.666..., 'CF1': 0.75, 'OF1': 0.666...}
    """
    if classes is not None:
        predicted, targets = predicted[:, list(classes)], targets[:, list(classes)]
    true, found, positives = count_labels(predicted, targets)
    has_positive = positives > 0
    if not has_positive.any():
        return dict(mF1=float("nan"), CF1=float("nan"), OF1=float("nan"))
    f1 = class_f1(predicted, targets)
    precision = (true / np.maximum(found, 1))[has_positive].mean()
    recall = (true[has_positive] / positives[has_positive]).mean()
    return dict(
        mF1=float(f1[has_positive].mean()),
        CF1=float(2 * precision * recall / max(precision + recall, 1e-12)),
        OF1=float(2 * true.sum() / (found.sum() + positives.sum())),
    )


def class_f1(predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Compute the F1 of each class.

    Args:
        predicted: (N, C) bool.
        targets: (N, C), 1 positive, 0 negative, -1 unknown and left out.

    Returns:
        (C,) in [0, 1]; NaN for a class without a positive.
    """
    true, found, positives = count_labels(predicted, targets)
    f1 = 2 * true / np.maximum(found + positives, 1)
    return np.where(positives > 0, f1, np.nan)


def count_labels(
    predicted: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count true positives, predicted labels and positives of each class.

    Args:
        predicted: (N, C) bool.
        targets: (N, C), 1 positive, 0 negative, -1 unknown and left out.

    Returns:
        Three arrays, (C,).
    """
    positive = targets == 1
    return (
        (predicted & positive).sum(axis=0),
        (predicted & (targets >= 0)).sum(axis=0),
        positive.sum(axis=0),
    )
