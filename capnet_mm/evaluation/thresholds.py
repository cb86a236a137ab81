"""Thresholds over which a class is predicted, found on a list and shrunk."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .calibration import fit_calibration, training_and_test
from .f1_scores import class_f1, count_labels

# Positives that the shared threshold counts as; with the last one it is all classes'.
# Not 0: a class with three positives would get its threshold from three points.
STRENGTHS = (3.0, 10.0, 30.0, 100.0, np.inf)


class Thresholds(NamedTuple):
    """Thresholds of the classes.

    Attributes:
        values: (C,), on the scale of the scores; predicted is what reaches it.
        shared: The one threshold that is best for all classes together.
        strength: k, the number of positives that it counts as.
    """

    values: np.ndarray
    shared: float
    strength: float


def class_threshold(
    scores: np.ndarray, targets: np.ndarray, precision: float | None = None
) -> float:
    """Find the best threshold of one class.

    Args:
        scores: (N,) scores.
        targets: (N,), 1 positive, 0 negative, -1 unknown and left out.
        precision: Wanted precision, of which the threshold with most recall is taken;
            if none reaches it, that of the highest precision. None: the highest F1.

    Returns:
        A threshold midway between two scores; NaN without a positive.
    """
    known = targets >= 0
    order = np.argsort(-scores[known], kind="stable")
    scores, hits = scores[known][order], targets[known][order] == 1
    if not hits.any():
        return float("nan")
    true = np.cumsum(hits)
    predicted = np.arange(1, len(hits) + 1)
    # A cut lies between two different scores, or below all.
    lower = np.append(scores[1:], scores[-1] - 1)
    is_cut = scores > lower
    if precision is None:
        merit = 2 * true / (predicted + true[-1])  # F1
    else:
        reached = true / predicted >= precision
        # Recall of those that reach it, else precision, which is below.
        merit = np.where(reached, 1 + true, true / predicted)
    best = int(np.argmax(np.where(is_cut, merit, -1)))
    return float((scores[best] + lower[best]) / 2)


def shared_threshold(
    scores: np.ndarray, targets: np.ndarray, precision: float | None = None
) -> float:
    """Find one threshold for all classes, by the mean over classes.

    Args:
        scores: (N, C), comparable from class to class.
        targets: (N, C), 1 positive, 0 negative, -1 unknown.
        precision: Wanted mean precision; None: the highest mean F1.

    Returns:
        The best of 100 quantiles of the positives' scores.

    Raises:
        ValueError: There is no positive.
    """
    positives = scores[targets == 1]
    if not len(positives):
        raise ValueError("The list has no positive label: no threshold can be found.")
    candidates = np.unique(np.quantile(positives, np.linspace(0, 1, 100)))
    merits = [_merit(scores >= each, targets, precision) for each in candidates]
    return float(candidates[merits.index(max(merits))])


def shrunk_thresholds(
    scores: np.ndarray,
    targets: np.ndarray,
    strength: float,
    precision: float | None = None,
) -> Thresholds:
    r"""Find a threshold for each class, drawn towards the shared one.

    .. math:: t_c = \frac{n_c \hat t_c + k t}{n_c + k}

    with the class's own best threshold :math:`\hat t_c`, its number of positives
    :math:`n_c` and the best shared threshold t. A class's own optimum overfits where
    positives are few (Yang, SIGIR 2001; Fan and Lin, 2007); n / (n + k) is the
    credibility of Bühlmann (1967), the weight that estimates of equal spread get from
    empirical Bayes. Scores should be calibrated: only then one threshold suits all
    classes about equally (Lipton et al., ECML 2014).

    Args:
        scores: (N, C) calibrated logits.
        targets: (N, C), 1 positive, 0 negative, -1 unknown.
        strength: k; 0 keeps the classes' own, infinity gives the shared one to all.
        precision: Wanted precision; None: the highest F1.

    Returns:
        The thresholds; a class without a positive has the shared one.
    """
    shared = shared_threshold(scores, targets, precision)
    own = class_thresholds(scores, targets, precision)
    values = shrink(own, (targets == 1).sum(axis=0), shared, strength)
    return Thresholds(values, shared, strength)


def class_thresholds(
    scores: np.ndarray, targets: np.ndarray, precision: float | None = None
) -> np.ndarray:
    """Find the best threshold of every class, see :func:`class_threshold`.

    Args:
        scores: (N, C).
        targets: (N, C), 1 positive, 0 negative, -1 unknown.
        precision: Wanted precision; None: the highest F1.

    Returns:
        (C,); NaN for a class without a positive.
    """
    columns = zip(scores.T, targets.T, strict=True)
    return np.array([class_threshold(x, y, precision) for x, y in columns])


def shrink(
    own: np.ndarray, positives: np.ndarray, shared: float, strength: float
) -> np.ndarray:
    """Draw the classes' thresholds towards the shared one, (C,)."""
    weight = np.zeros(len(own))
    if np.isfinite(strength):
        has_own = positives > 0
        weight[has_own] = positives[has_own] / (positives[has_own] + strength)
    values = (
        np.where(weight > 0, weight * np.nan_to_num(own), 0) + (1 - weight) * shared
    )
    return values


def choose_strength(
    logits: np.ndarray,
    targets: np.ndarray,
    prior_weight: float,
    splits: Sequence[Sequence[np.ndarray]],
    precision: float | None = None,
) -> tuple[float, np.ndarray]:
    """Choose k by cross-validation, calibration included.

    Args:
        logits: (N, C), as the model gives them.
        targets: (N, C), 1 positive, 0 negative, -1 unknown.
        prior_weight: λ of the calibration.
        splits: Several splits into folds, as of
            :func:`~capnet_mm.evaluation.split_folds`, over which the merit is
            averaged: with few positives that of one split is chance.
        precision: Wanted precision; None: the highest F1.

    Returns:
        k, one of :data:`STRENGTHS`, and what it predicts for held-out images of the
        first split, (N, C) bool.
    """
    predicted = [
        _held_out(logits, targets, prior_weight, folds, precision) for folds in splits
    ]
    merits = {
        strength: tuple(
            np.mean(
                [_merit(each[strength], targets, precision) for each in predicted], 0
            )
        )
        for strength in STRENGTHS
    }
    best = max(merits, key=merits.__getitem__)
    return best, predicted[0][best]


def _held_out(
    logits: np.ndarray,
    targets: np.ndarray,
    prior_weight: float,
    folds: Sequence[np.ndarray],
    precision: float | None,
) -> dict[float, np.ndarray]:
    """What each k predicts for images that nothing was fitted to, (N, C) bool."""
    predicted = {strength: np.zeros(logits.shape, bool) for strength in STRENGTHS}
    for fit, test in training_and_test(folds):
        calibration = fit_calibration(logits[fit], targets[fit], prior_weight)
        scores = calibration.apply(logits[fit])
        shared = shared_threshold(scores, targets[fit], precision)
        own = class_thresholds(scores, targets[fit], precision)
        positives = (targets[fit] == 1).sum(axis=0)
        held_out = calibration.apply(logits[test])
        for strength in STRENGTHS:
            thresholds = shrink(own, positives, shared, strength)
            predicted[strength][test] = held_out >= thresholds
    return predicted


def _merit(
    predicted: np.ndarray, targets: np.ndarray, precision: float | None
) -> tuple[float, ...]:
    """What is to be as large as possible, its most important part first."""
    if precision is None:
        return (float(np.nanmean(class_f1(predicted, targets))),)
    true, found, positives = count_labels(predicted, targets)
    # A class that is not predicted promises nothing.
    reached = (true[found > 0] / found[found > 0]).mean() if found.any() else 1.0
    recall = (true[positives > 0] / positives[positives > 0]).mean()
    return float(min(reached, precision)), float(recall)
