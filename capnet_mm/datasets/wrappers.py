"""What the wrappers around data sets hold, and what it adds up to."""

from collections import Counter
from collections.abc import Sequence


def unwrap_datasets(dataset) -> list:
    """The data sets themselves, out of repetition, balancing, concatenation, ….

    Args:
        dataset (Dataset): A data set, maybe with MMEngine's (``RepeatDataset``,
            ``ClassBalancedDataset``, ``ConcatDataset``) or PyTorch's wrappers.

    Returns:
        list[Dataset]: The innermost ones; more than one after concatenation.
    """
    if hasattr(dataset, "datasets"):
        return [leaf for part in dataset.datasets for leaf in unwrap_datasets(part)]
    if hasattr(dataset, "dataset"):
        return unwrap_datasets(dataset.dataset)
    return [dataset]


def class_statistics(dataset, needed_by: str) -> tuple[tuple[int, ...], int]:
    """Class counts and number of the training images.

    Those that the metainfo states: added after concatenation (a training list that
    several parts name as ``train_ann_file`` counts once), of the chosen images only
    in PyTorch's ``Subset``, and as they are in repetition and balancing.

    Args:
        dataset (Dataset): A data set, wrapped or not.
        needed_by: Who needs the counts, for the message.

    Returns:
        tuple[tuple[int, ...], int]: n_c of the C classes, and N.

    Raises:
        ValueError: A data set does not state them, or the numbers of classes differ.
    """
    if hasattr(dataset, "datasets"):
        return _added(dataset.datasets, needed_by)
    if hasattr(dataset, "indices") and hasattr(dataset, "dataset"):
        counts, _ = class_statistics(dataset.dataset, needed_by)
        number = Counter(
            label for i in dataset.indices for label in dataset.dataset.get_cat_ids(i)
        )
        return tuple(number[label] for label in range(len(counts))), len(dataset)
    if hasattr(dataset, "dataset"):
        return class_statistics(dataset.dataset, needed_by)
    metainfo = getattr(dataset, "metainfo", {})
    lacking = [key for key in ("class_counts", "num_images") if key not in metainfo]
    if lacking:
        raise ValueError(
            f"The data set {type(dataset).__name__} does not state "
            f"{' and '.join(lacking)} in its metainfo, which {needed_by} needs. "
            "ImageListDataset and the data sets built on it count their classes; for "
            "another data set pass metainfo=dict(class_counts=[images with class 0, "
            "…], num_images=N)."
        )
    counts = tuple(int(count) for count in metainfo["class_counts"])
    return counts, int(metainfo["num_images"])


def _added(parts: Sequence, needed_by: str) -> tuple[tuple[int, ...], int]:
    by_source = {}
    for part in parts:
        leaves = unwrap_datasets(part)
        source = getattr(leaves[0], "train_ann_file", None)
        by_source[source or id(part)] = class_statistics(part, needed_by)
    counts, numbers = zip(*by_source.values(), strict=True)
    lengths = sorted({len(of_part) for of_part in counts})
    if len(lengths) > 1:
        raise ValueError(
            f"The concatenated data sets state counts of {lengths} classes: they must "
            "have the same classes."
        )
    return tuple(sum(column) for column in zip(*counts, strict=True)), sum(numbers)
