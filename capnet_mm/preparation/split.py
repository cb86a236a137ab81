"""Drawing a validation set evenly over the classes."""

import math
import random
from collections.abc import Sequence


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
    part_of = _share_out([set(each) for each in labels], order, num_classes, fraction)
    parts = [], []
    for index in sorted(order):
        parts[part_of[index]].append(index)
    if not all(parts):
        needed = math.ceil(1 / min(fraction, 1 - fraction))
        raise ValueError(
            f"A fraction of {fraction} leaves one part of the {len(labels)} images "
            f"empty: at least {needed} images are needed."
        )
    return parts


def _share_out(
    labels: list[set[int]], order: list[int], num_classes: int, fraction: float
) -> dict[int, int]:
    """The part, 0 or 1, of each image."""
    members = [[i for i in order if label in labels[i]] for label in range(num_classes)]
    left = [len(each) for each in members]
    # What each part still lacks: of each class, and of images at all.
    wanted = [[share * n for n in left] for share in (1 - fraction, fraction)]
    room = [share * len(labels) for share in (1 - fraction, fraction)]
    part_of: dict[int, int] = {}

    def put(index: int, part: int) -> None:
        part_of[index] = part
        room[part] -= 1
        for label in labels[index]:
            wanted[part][label] -= 1
            left[label] -= 1

    while any(left):
        rarest = min((n, label) for label, n in enumerate(left) if n)[1]
        for index in members[rarest]:
            if index not in part_of:
                first, second = ((wanted[p][rarest], room[p]) for p in (0, 1))
                put(index, int(second > first))
    for index in order:  # without labels
        if index not in part_of:
            put(index, int(room[1] > room[0]))
    return part_of
