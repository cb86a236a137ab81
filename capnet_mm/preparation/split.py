"""Drawing a validation set evenly over the classes."""

import math
import random
from collections.abc import Sequence

import numpy as np


def draw_split(
    labels: Sequence[Sequence[int]], num_classes: int, fraction: float, seed: int = 0
) -> tuple[list[int], list[int]]:
    """Draw a part of the images, evenly over the classes.

    Iterative stratification (Sechidis et al., ECML 2011): the class with the fewest
    images left is shared out first, each of its images to the part that still lacks
    more of it; so rare classes get their share before common ones use up the images.
    A class with a single image stays in the first part for any fraction below a half.

    Args:
        labels (Sequence[Sequence[int]]): Labels of the N images.
        num_classes (int): C.
        fraction (float): Size of the second part, between 0 and 1.
        seed (int): Defaults to 0.

    Returns:
        tuple[list[int], list[int]]: Sorted indices of the first (training) and of the
        second (validation) part; an empty one is refused.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"A fraction lies between 0 and 1, got {fraction}.")
    order = list(range(len(labels)))
    random.Random(seed).shuffle(order)
    positive = np.zeros((len(labels), num_classes), dtype=bool)
    for row, of_image in zip(positive, labels, strict=True):
        row[list(of_image)] = True
    part_of = _share_out(positive, np.array(order), fraction)
    parts = tuple(np.flatnonzero(part_of == part).tolist() for part in (0, 1))
    if not all(parts):
        needed = math.ceil(1 / min(fraction, 1 - fraction))
        raise ValueError(
            f"A fraction of {fraction} leaves one part of the {len(labels)} images "
            f"empty: at least {needed} images are needed."
        )
    return parts


def _share_out(positive: np.ndarray, order: np.ndarray, fraction: float) -> np.ndarray:
    """The part of each image, (N,) of 0 or 1; labels are (N, C) of bool."""
    shares = np.array([1 - fraction, fraction])
    left = positive.sum(axis=0)
    # What each part still lacks: of each class, and last of images at all.
    wanted = np.outer(shares, [*left, len(positive)])
    part_of = np.full(len(positive), -1)
    while (there := order[part_of[order] < 0]).size:
        rarest = -1  # images without labels
        if left.any():
            rarest = np.where(left > 0, left, len(positive) + 1).argmin()
            there = there[positive[there, rarest]]
        for index in there:
            lacking = wanted[:, [rarest, -1]].tolist()
            part = part_of[index] = int(lacking[1] > lacking[0])
            wanted[part] -= [*positive[index], True]
            left -= positive[index]
    return part_of
