"""Temperature and bias that fit cosines to labels: a logistic regression."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

# Standard deviation of a class's own bias about the shared one, in logits: two of
# them stand for odds that are 50 times as high or low.
_BIAS_STD = 2.0


class ScaleAndBias(NamedTuple):
    """What turns cosines into logits, scale · cosine + bias.

    Attributes:
        scale: 1 / τ.
        bias: b, (1,), (C,), or (0,) where there is none; float64.
        loss: Mean binary cross entropy over the known labels.
    """

    scale: float
    bias: Tensor
    loss: float


def fit_scale_and_bias(
    cosines: Tensor,
    targets: Tensor,
    num_biases: int = 1,
    scale_range: tuple[float, float] = (1.0, 100.0),
) -> ScaleAndBias:
    r"""Find scale and bias of maximum likelihood.

    .. math::
        P(y_c = 1) = \sigma(s \cos_c + b_c), \quad b_c \sim N(b, 2^2)

    The likelihood has one maximum. Where its scale is out of range, the nearest end
    is taken and b fitted again, which is the maximum within the range. With a bias
    for every class, that of a class with few labels stays near the others'.

    Args:
        cosines: (N, C).
        targets: (N, C), 1 positive, 0 negative, -1 unknown, which is left out.
        num_biases: 0, no bias; 1, one for all classes; or C. Defaults to 1.
        scale_range: Lowest and highest s. Defaults to (1, 100).

    Raises:
        ValueError: The known labels are all positive or all negative, or a cosine is
            not finite.
    """
    known = targets >= 0
    found = targets[known].unique().tolist()
    if found != [0, 1] or not cosines.isfinite().all():
        raise ValueError(
            "Temperature and bias are fitted to finite cosines of images with and "
            f"without a class; got the labels {found}, and cosines from "
            f"{float(cosines.min()):.3g} to {float(cosines.max()):.3g}."
        )
    # Standardised, so that slope and bias are found independently of each other.
    cosines, targets = cosines.double(), targets.double()
    mean = cosines[known].mean() if num_biases else cosines.new_zeros(())
    std = cosines[known].std().clamp_min(1e-9)
    inputs = (cosines - mean) / std
    slope, bias = _fit(inputs, targets, num_biases)
    scale = float((slope / std).clamp(*scale_range))
    if scale != float(slope / std):
        slope = scale * std
        _, bias = _fit(inputs, targets, num_biases, slope)
    bias = bias - scale * mean
    return ScaleAndBias(scale, bias, known_loss(scale * cosines + _all(bias), targets))


def known_loss(logits: Tensor, targets: Tensor) -> float:
    """Mean binary cross entropy over the known labels; (N, C) each."""
    known = targets >= 0
    loss = F.binary_cross_entropy_with_logits(
        logits[known].double(), targets[known].double()
    )
    return float(loss)


def _all(bias: Tensor) -> Tensor | float:
    return bias if len(bias) else 0.0


def _fit(
    inputs: Tensor, targets: Tensor, num_biases: int, slope: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Slope, unless it is given, and biases (num_biases,) of maximum likelihood."""
    known = targets >= 0
    given = slope
    own = num_biases if num_biases > 1 else 0
    # The slope, the shared bias, and what each class's own adds.
    values = torch.zeros(2 + own, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [values],
        max_iter=200,
        tolerance_grad=1e-10,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def logits() -> Tensor:
        slope = values[0] if given is None else given
        shared = values[1] if num_biases else 0.0
        return slope * inputs + shared + _all(values[2:])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(
            logits()[known], targets[known], reduction="sum"
        )
        loss = loss + (values[2:] / _BIAS_STD).square().sum() / 2
        loss = loss / known.sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    found = values.detach()
    bias = (found[1] + found[2:]) if own else found[1 : 1 + num_biases]
    return found[0] if given is None else given, bias
