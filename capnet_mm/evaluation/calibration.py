"""Calibrated probabilities: a scale and biases of the logits, found on a list."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

# Weights of the prior that are tried; with the last one all classes share a bias.
PRIOR_WEIGHTS = (0.3, 1.0, 3.0, 10.0, 30.0, np.inf)


class Calibration(NamedTuple):
    """What turns logits x into probabilities: sigmoid(scale * x + bias).

    Attributes:
        scale: The same for all classes, positive: no ranking changes.
        bias: (C,).
        shared_bias: What a class has of which nothing is known.
        prior_weight: λ, how strongly the biases were held together.
    """

    scale: float
    bias: np.ndarray
    shared_bias: float
    prior_weight: float

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated logits, (N, C) float64."""
        return self.scale * np.asarray(logits, np.float64) + self.bias


def fit_calibration(
    logits: np.ndarray, targets: np.ndarray, prior_weight: float
) -> Calibration:
    r"""Find the scale and the biases that make probabilities of logits.

    .. math::
        p_{ic} = \sigma(a x_{ic} + b + \delta_c), \qquad
        \min_{a > 0, b, \delta} \sum_{i,c} \mathrm{BCE}(p_{ic}, y_{ic})
        + \frac{\lambda}{2} \sum_c \delta_c^2

    Source: scale and bias of Platt (1999), with his smoothed targets, so that
    separable classes stay finite; the scale alone is the temperature of Guo et al.
    (ICML 2017). What a class deviates by, :math:`\delta_c`, is shrunk as in a
    hierarchical model with a normal prior (Gelman and Hill, 2007): a class with few
    positives keeps the shared bias.

    Args:
        logits: (N, C).
        targets: (N, C), 1 positive, 0 negative, -1 unknown and left out.
        prior_weight: λ; infinite for one bias of all classes.

    Returns:
        The calibration.

    Raises:
        ValueError: There is no positive or no negative.
    """
    x, y = torch.as_tensor(np.asarray(logits, np.float64)), torch.as_tensor(targets)
    positives, negatives = int((y == 1).sum()), int((y == 0).sum())
    if not positives or not negatives:
        raise ValueError(
            f"The list has {positives} positive and {negatives} negative labels: "
            "calibration needs both."
        )
    known = (y >= 0).double()
    smooth = torch.where(
        y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2)
    ).double()
    shared = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # ln a, b
    deviation = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    is_shared = np.isinf(prior_weight)
    free = [shared] if is_shared else [shared, deviation]
    optimizer = torch.optim.LBFGS(
        free, max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        z = shared[0].exp() * x + shared[1] + deviation
        loss = F.binary_cross_entropy_with_logits(z, smooth, known, reduction="sum")
        if not is_shared:
            loss = loss + prior_weight / 2 * deviation.square().sum()
        loss = loss / known.sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    log_scale, bias = shared.detach()
    each = (bias + deviation.detach()).numpy()
    return Calibration(float(log_scale.exp()), each, float(bias), prior_weight)


def choose_calibration(
    logits: np.ndarray, targets: np.ndarray, folds: Sequence[np.ndarray]
) -> tuple[Calibration, np.ndarray]:
    """Fit with the λ of the lowest cross-validated log loss.

    Args:
        logits: (N, C).
        targets: (N, C), 1 positive, 0 negative, -1 unknown.
        folds: Indices of the images held out in turn, as of :func:`split_folds`.

    Returns:
        The calibration, found on all images; and calibrated logits, (N, C), of each
        image by a calibration that was found without its fold.
    """
    tried = []
    for weight in PRIOR_WEIGHTS:
        held_out = np.empty(np.shape(logits))
        for fit, test in training_and_test(folds):
            found = fit_calibration(logits[fit], targets[fit], weight)
            held_out[test] = found.apply(logits[test])
        tried.append((log_loss(held_out, targets), weight, held_out))
    _, weight, held_out = min(tried, key=lambda each: each[0])
    return fit_calibration(logits, targets, weight), held_out


def split_folds(num_images: int, num_folds: int = 5, seed: int = 0) -> list[np.ndarray]:
    """Deal images out at random.

    Args:
        num_images: N.
        num_folds: Number of parts.
        seed: Seed of the random order.

    Returns:
        Indices of the images of each part.

    Raises:
        ValueError: There are fewer images than parts.
    """
    if num_images < num_folds:
        raise ValueError(
            f"{num_images} images cannot be split into {num_folds} parts for "
            "cross-validation: a longer validation list is needed."
        )
    return np.array_split(
        np.random.default_rng(seed).permutation(num_images), num_folds
    )


def training_and_test(
    folds: Sequence[np.ndarray],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Hold out each part in turn.

    Args:
        folds: Indices of the images of each part.

    Yields:
        Indices of the images to learn from, and of those held out.
    """
    for place, held_out in enumerate(folds):
        rest = [fold for other, fold in enumerate(folds) if other != place]
        yield np.concatenate(rest), held_out


def log_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean binary cross-entropy of the known labels, in nats.

    Args:
        logits: (N, C).
        targets: (N, C), 1 positive, 0 negative, -1 unknown.

    Returns:
        The loss; NaN if no label is known.
    """
    known = np.asarray(targets) >= 0
    x, y = np.asarray(logits, np.float64)[known], np.asarray(targets)[known]
    # -log sigmoid of x for a positive, of -x for a negative.
    losses = np.logaddexp(0, np.where(y == 1, -x, x))
    return float(losses.mean()) if len(losses) else float("nan")


class ReliabilityBins(NamedTuple):
    """Labels sorted by predicted probability into bins that hold at least one.

    Attributes:
        predicted: Mean probability in each bin, (B,).
        observed: Share of positives in each bin, (B,).
        counts: Number of labels in each bin, (B,).
    """

    predicted: np.ndarray
    observed: np.ndarray
    counts: np.ndarray

    @property
    def expected_calibration_error(self) -> float:
        """ECE: mean gap of prediction and observation; NaN without a label."""
        if not len(self.counts):
            return float("nan")
        gaps = np.abs(self.predicted - self.observed)
        return float(np.average(gaps, weights=self.counts))


def reliability_bins(
    probabilities: np.ndarray, targets: np.ndarray, num_bins: int = 15
) -> ReliabilityBins:
    """Compare predicted probabilities with how often the label is there.

    Source: 15 bins of equal width as in Guo et al. (ICML 2017), over all pairs of image
    and class as binary predictions. Most labels of a multi-label set are clear
    negatives, so the error is small where that of single-label sets is not.

    Args:
        probabilities: (N, C) in [0, 1].
        targets: (N, C), 1 positive, 0 negative, -1 unknown and left out.
        num_bins: Number of bins.

    Returns:
        The bins that are not empty.
    """
    known = np.asarray(targets) >= 0
    p, y = np.asarray(probabilities, np.float64)[known], np.asarray(targets)[known]
    places = np.minimum((p * num_bins).astype(int), num_bins - 1)
    counts = np.bincount(places, minlength=num_bins)
    filled = counts > 0
    sums = np.bincount(places, weights=p, minlength=num_bins)
    positives = np.bincount(places, weights=y, minlength=num_bins)
    return ReliabilityBins(
        sums[filled] / counts[filled],
        positives[filled] / counts[filled],
        counts[filled],
    )
