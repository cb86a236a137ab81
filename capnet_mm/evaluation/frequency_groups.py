"""Head, medium and tail: the classes grouped by their number of training images."""

import math
from collections.abc import Iterable, Mapping, Sequence

GROUP_NAMES = ("head", "medium", "tail")


def frequency_groups(
    class_counts: Sequence[int], head_threshold: int = 100, tail_threshold: int = 20
) -> dict[str, tuple[int, ...]]:
    """Group classes by their number of positive training images n_c.

    head: n_c >= ``head_threshold``; tail: n_c < ``tail_threshold``; medium: all
    between. The defaults are those of VOC-LT and COCO-LT (Wu et al., ECCV 2020).

    Args:
        class_counts (Sequence[int]): n_c of the C classes.
        head_threshold (int): Smallest count of a head class. Defaults to 100.
        tail_threshold (int): Smallest count that is no longer tail. Defaults to 20.

    Returns:
        dict[str, tuple[int, ...]]: Indices of the classes in ``head``, ``medium``
        and ``tail``; every class is in exactly one of them.

    Raises:
        ValueError: The tail threshold is above the head threshold.

    Examples:
        >>> frequency_groups([775, 100, 99, 20, 19, 0])
        {'head': (0, 1), 'medium': (2, 3), 'tail': (4, 5)}
    """
    if tail_threshold > head_threshold:
        raise ValueError(
            f"tail_threshold={tail_threshold} is above head_threshold="
            f"{head_threshold}: a class cannot be both head and tail."
        )
    groups: dict[str, list[int]] = {name: [] for name in GROUP_NAMES}
    for index, count in enumerate(class_counts):
        if count >= head_threshold:
            groups["head"].append(index)
        elif count < tail_threshold:
            groups["tail"].append(index)
        else:
            groups["medium"].append(index)
    return {name: tuple(indices) for name, indices in groups.items()}


def group_of(groups: Mapping[str, Iterable[int]]) -> dict[int, str]:
    """Name the group of each class.

    Args:
        groups (Mapping[str, Iterable[int]]): Indices of the classes of each group.

    Returns:
        dict[int, str]: The group that each of these classes is in.

    Examples:
        >>> group_of({"head": (0,), "medium": (), "tail": (2, 1)})
        {0: 'head', 2: 'tail', 1: 'tail'}
    """
    return {index: name for name, indices in groups.items() for index in indices}


def by_train_count(class_counts: Sequence[int | None]) -> list[int]:
    """Order classes from the most to the least training images.

    Args:
        class_counts (Sequence[int | None]): Training images of each class; None where
            not known.

    Returns:
        list[int]: Indices of the classes. Equal and unknown counts keep their order;
        unknown ones come last.

    Examples:
        >>> by_train_count([4, None, 413, 4])
        [2, 0, 3, 1]
    """
    return sorted(
        range(len(class_counts)),
        key=lambda index: -1 if class_counts[index] is None else class_counts[index],
        reverse=True,
    )


def highest_and_lowest(values: Sequence[float], number: int) -> list[int]:
    """Pick what is worth showing of many classes.

    Args:
        values (Sequence[float]): One a class; NaN is neither high nor low.
        number (int): So many at each end.

    Returns:
        list[int]: Indices of the classes with the highest values and those with the
        lowest, from high to low; of few classes all that have a value.

    Examples:
        >>> highest_and_lowest([5.0, 90.0, float("nan"), 70.0, 20.0, 40.0], 2)
        [1, 3, 4, 0]
    """
    known = (index for index, value in enumerate(values) if not math.isnan(value))
    order = sorted(known, key=lambda index: values[index], reverse=True)
    return order if len(order) <= 2 * number else order[:number] + order[-number:]
