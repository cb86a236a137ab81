"""How far scores would differ on other test images: the bootstrap."""

import numpy as np


def resample(num_images: int, num_resamples: int, seed: int = 0) -> np.ndarray:
    """Draw test sets from a test set, with replacement.

    Args:
        num_images: N, size of the test set and of each that is drawn.
        num_resamples: B, number of test sets to draw.
        seed: Of the draw. Defaults to 0.

    Returns:
        How often each image was drawn, (B, N).
    """
    share = np.full(num_images, 1 / num_images)
    return np.random.default_rng(seed).multinomial(num_images, share, num_resamples)


def resampled_average_precision(
    scores: np.ndarray, targets: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Compute the average precision of each class on each test set drawn.

    As :func:`~capnet_mm.evaluation.average_precision` of an image list in which each
    image stands as often as it was drawn. An image's place in the ranking is the same
    in all lists, so that each class is sorted once.

    Args:
        scores: (N, C).
        targets: (N, C), 1 positive, 0 negative, -1 unknown, which is left out.
        draws: (B, N), see :func:`resample`.

    Returns:
        (B, C) in [0, 1]; NaN where no positive was drawn.
    """
    result = np.full((len(draws), scores.shape[1]), np.nan)
    for index in range(scores.shape[1]):
        known = np.flatnonzero(targets[:, index] >= 0)
        order = known[np.argsort(-scores[known, index], kind="stable")]
        negated, is_positive = -scores[order, index], targets[order, index] == 1
        # Equal scores are retrieved together: precision is that of the last of them.
        last = np.searchsorted(negated, negated[is_positive], side="right") - 1
        drawn = draws[:, order]
        positives = drawn[:, is_positive]
        retrieved = drawn.cumsum(1)[:, last]
        true = (drawn * is_positive).cumsum(1)[:, last]
        precision = true / np.maximum(retrieved, 1)
        number = positives.sum(1)
        total = (positives * precision).sum(1)
        np.divide(total, number, out=result[:, index], where=number > 0)
    return result
