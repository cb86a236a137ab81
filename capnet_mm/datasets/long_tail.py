r"""Drawing a long-tailed training set from a larger one.

The procedure is that of VOC-LT and COCO-LT (Wu et al., ECCV 2020, and the tool in the
first version of their code):

1. Classes are ordered from head to tail by how much the other classes bring
   them along, :math:`\sum_{c'} P(c \mid c')`, with
   :math:`P(c \mid c') = n_{c c'} / n_{c'}` counted on the original set: a class
   that is in most images cannot be made rare.
2. The i-th class in this order aims at the i-th of :func:`pareto_counts`.
3. In this order, each class is brought to its aim exactly: if the images drawn
   so far have too few of it, images with it are added at random from those not
   drawn; if too many, images with it are taken out at random.

Ours: a class with fewer images than its aim keeps all of them and is listed in
``short`` (their tool does so for COCO and stops for VOC); classes of equal rank
go by their number, those without images come last; ``max_count`` need not be
given; the generator of random numbers, so a seed does not repeat the published
lists. As in the source, an image without labels is never drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LongTailDraw:
    """What :func:`draw_long_tail` has drawn.

    Args:
        indices (tuple[int, ...]): Images drawn, in their order in the original set.
        counts (tuple[int, ...]): n_c among them, C numbers.
        targets (tuple[int, ...]): n_c that was aimed at, C numbers.
        available (tuple[int, ...]): n_c in the original set, C numbers.
        order (tuple[int, ...]): Classes in the order in which they were drawn.
    """

    indices: tuple[int, ...]
    counts: tuple[int, ...]
    targets: tuple[int, ...]
    available: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def short(self) -> tuple[int, ...]:
        """Classes that have fewer images in the original set than was aimed at."""
        pairs = zip(self.available, self.targets, strict=True)
        return tuple(c for c, (there, wanted) in enumerate(pairs) if there < wanted)


def pareto_counts(
    num_classes: int,
    max_count: int,
    min_count: int = 1,
    alpha: float = 6.0,
    quantile: float = 0.99,
) -> tuple[int, ...]:
    r"""Class counts that fall from head to tail as a Pareto density does.

    .. math::
        n_i = \lfloor n_{min} + (n_{max} - n_{min})\, x_i^{-(\alpha + 1)} \rfloor

    at C points :math:`x_i` equally spaced from 1, the start of the Pareto
    distribution of shape α, to :math:`(1 - q)^{-1 / \alpha}`, its q-quantile. The
    largest is ``max_count``; the smallest lies a little above ``min_count``, which
    the density never reaches.

    Source: Wu et al., ECCV 2020, with α = 6, q = 0.99, ``min_count=1``, and
    ``max_count`` 800 for VOC-LT (which gives 800 … 4) and 1,200 for COCO-LT
    (1,200 … 6).

    Args:
        num_classes (int): C.
        max_count (int): Count of the first class.
        min_count (int): Limit that the counts tend to. Defaults to 1.
        alpha (float): α, shape of the distribution: the larger, the steeper.
            Defaults to 6.
        quantile (float): q, where the last class stands. Defaults to 0.99.

    Returns:
        tuple[int, ...]: C counts that never increase.

    Raises:
        ValueError: An argument is out of range.

    Examples:
        >>> pareto_counts(6, max_count=800)
        (800, 187, 57, 21, 9, 4)
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
    if not 0 <= min_count <= max_count or max_count < 1:
        raise ValueError(
            "Expected 0 <= min_count <= max_count and max_count >= 1, got min_count="
            f"{min_count} and max_count={max_count}."
        )
    if not alpha > 0 or not math.isfinite(alpha):
        raise ValueError(f"alpha must be positive, got {alpha}.")
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must lie between 0 and 1, got {quantile}.")
    points = np.linspace(1.0, (1 - quantile) ** (-1 / alpha), num_classes)
    counts = min_count + (max_count - min_count) * points ** -(alpha + 1)
    return tuple(int(count) for count in counts)


def draw_long_tail(
    labels: Sequence[Sequence[int]],
    num_classes: int,
    max_count: int | None = None,
    min_count: int = 1,
    alpha: float = 6.0,
    quantile: float = 0.99,
    seed: int = 0,
) -> LongTailDraw:
    """Draw a long-tailed subset as VOC-LT and COCO-LT were drawn.

    The head of this module describes the procedure. A later class brings along, or
    takes out, images of earlier ones, so the counts at the end miss their aims in
    either direction (VOC-LT has 775 of the 800 that its largest class aimed at):
    compare ``counts`` with ``targets``.

    Args:
        labels (Sequence[Sequence[int]]): Positive labels of each of N images.
        num_classes (int): C.
        max_count (int, optional): Aim of the first class. Defaults to None: all
            images that it has.
        min_count (int): Limit that the aims tend to; see :func:`pareto_counts`.
            Defaults to 1.
        alpha (float): Exponent α of the Pareto density. Defaults to 6.
        quantile (float): q, the quantile that stands for the rarest class. Defaults
            to 0.99.
        seed (int): Seed; the same seed gives the same draw. Defaults to 0.

    Returns:
        LongTailDraw: Images drawn, and counts aimed at and achieved.

    Raises:
        ValueError: No image has a label, a label is out of range, or an argument is.

    Examples:
        >>> labels = [[0]] * 60 + [[1, 0]] * 40 + [[2]] * 50
        >>> draw = draw_long_tail(labels, num_classes=3, max_count=60)
        >>> draw.order, draw.targets
        ((0, 1, 2), (60, 3, 1))
        >>> draw.counts[1:]
        (3, 1)
    """
    positive = _label_matrix(labels, num_classes)
    order = _head_to_tail(positive)
    available = positive.sum(axis=0)
    if max_count is None:
        max_count = int(available[order[0]])
        min_count = min(min_count, max_count)
    aims = pareto_counts(num_classes, max_count, min_count, alpha, quantile)
    drawn = _draw(positive, order, aims, np.random.default_rng(seed))
    targets = np.empty(num_classes, dtype=np.int64)
    targets[order] = aims
    return LongTailDraw(
        indices=tuple(np.flatnonzero(drawn).tolist()),
        counts=tuple(positive[drawn].sum(axis=0).tolist()),
        targets=tuple(targets.tolist()),
        available=tuple(available.tolist()),
        order=tuple(order.tolist()),
    )


def _draw(
    positive: np.ndarray,
    order: np.ndarray,
    aims: Sequence[int],
    rng: np.random.Generator,
) -> np.ndarray:
    """Bring each class to its aim, in order: which images are drawn, (N,) bool."""
    drawn = np.zeros(len(positive), dtype=bool)
    for label, aim in zip(order, aims, strict=True):
        has_label = positive[:, label]
        inside = np.flatnonzero(has_label & drawn)
        outside = np.flatnonzero(has_label & ~drawn)
        missing = aim - len(inside)
        if missing < 0:
            drawn[rng.choice(inside, -missing, replace=False)] = False
        else:
            added = min(missing, len(outside))
            drawn[rng.choice(outside, added, replace=False)] = True
    return drawn


def _label_matrix(labels: Sequence[Sequence[int]], num_classes: int) -> np.ndarray:
    """(N, C) bool."""
    positive = np.zeros((len(labels), num_classes), dtype=bool)
    for index, image_labels in enumerate(labels):
        for label in image_labels:
            if not 0 <= label < num_classes:
                raise ValueError(
                    f"Image {index} has label {label}; there are {num_classes} "
                    f"classes, so labels go from 0 to {num_classes - 1}."
                )
            positive[index, label] = True
    if not positive.any():
        raise ValueError(
            f"None of the {len(labels)} images has a label: there is nothing to draw."
        )
    return positive


def _head_to_tail(positive: np.ndarray) -> np.ndarray:
    """Classes, those that others bring along most first, (C,)."""
    together = positive.T.astype(np.float64) @ positive  # n_cc', (C, C)
    counts = np.diag(together)
    given = together / np.maximum(counts, 1)[:, None]  # row c': P(c | c')
    # Rounded: sums that are equal but for the last bit are equal ranks.
    return np.argsort(-given.sum(axis=0).round(9), kind="stable")
