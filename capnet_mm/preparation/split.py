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
    more of it; so rare classes get their share before common ones use up the
    images. A class with a single image stays in the first part for any fraction
    below a half.

    Args:
        labels (Sequence[Sequence[int]]): Labels of the N images.
        num_classes (int): C.
        fraction (float): Size of the second part, between 0 and 1.
        seed (int): Defaults to 0.

    Returns:
        tuple[list[int], list[int]]: Indices of the first (training) and of the
        second (validation) part, sorted; each image is in one of them.

    Raises:
        ValueError: The fraction is not between 0 and 1, or a part would be empty.

    Examples:
        >>> first, second = draw_split([[0], [0], [0], [0], [1], [1]], 2, 0.5)
        >>> len(first), len(second)
        (3, 3)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"A fraction lies between 0 and 1, got {fraction}.")
    generator = random.Random(seed)
    order = list(range(len(labels)))
    generator.shuffle(order)
    members: list[list[int]] = [[] for _ in range(num_classes)]
    for index in order:
        for label in set(labels[index]):
            members[label].append(index)
    shares = (1 - fraction, fraction)
    # What each part still lacks: of each class, and of images at all.
    wanted = [[share * len(each) for each in members] for share in shares]
    room = [share * len(labels) for share in shares]
    part_of: dict[int, int] = {}

    def put(index: int, part: int) -> None:
        part_of[index] = part
        room[part] -= 1
        for label in set(labels[index]):
            wanted[part][label] -= 1
            left[label] -= 1

    left = [len(each) for each in members]
    while any(left):
        rarest = min((n, label) for label, n in enumerate(left) if n)[1]
        for index in members[rarest]:
            if index not in part_of:
                first, second = ((wanted[p][rarest], room[p]) for p in (0, 1))
                put(index, int(second > first))
    for index in order:  # without labels
        if index not in part_of:
            put(index, int(room[1] > room[0]))
    parts = ([], [])
    for index in range(len(labels)):
        parts[part_of[index]].append(index)
    if not all(parts):
        raise ValueError(
            f"A fraction of {fraction} leaves one part of the {len(labels)} images "
            f"empty: at least {math.ceil(1 / min(shares))} images are needed."
        )
    return parts
