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


def stated_names(dataset) -> dict:
    """What a data set states of its classes' names, in a wrapper without metainfo too.

    Args:
        dataset (Dataset): A data set, maybe in MMEngine's or PyTorch's wrappers.

    Returns:
        dict: ``classes`` and ``prompt_names`` of the metainfo, of the first innermost
        data set where a wrapper has none; empty where nothing is stated.
    """
    metainfo = getattr(dataset, "metainfo", None)
    if metainfo is None:
        metainfo = getattr(unwrap_datasets(dataset)[0], "metainfo", None) or {}
    return {k: metainfo[k] for k in ("classes", "prompt_names") if k in metainfo}


def share_scores(dataset) -> bool:
    """Have all images carry ``gt_score`` where those of one part do.

    MMPretrain's preprocessor goes by the first image of a batch: of images with and
    without scores it would fail or, by the shuffle, take what is unknown for negative.

    Args:
        dataset (Dataset): A data set, wrapped, concatenated or neither.

    Returns:
        bool: Whether they carry scores, since one list has unknown labels.

    Raises:
        ValueError: A data set beside a list with unknown labels cannot give scores.
    """
    leaves = unwrap_datasets(dataset)
    if not any(getattr(leaf, "gives_scores", False) for leaf in leaves):
        return False
    for leaf in leaves:
        if not hasattr(leaf, "gives_scores"):
            raise ValueError(
                f"{type(leaf).__name__} stands beside a list with unknown labels (?k), "
                "whose images carry gt_score, and cannot give scores itself: use "
                "ImageListDataset for all parts."
            )
        leaf.gives_scores = True
    return True


def image_labels(dataset, needed_by: str) -> list[Sequence[int]]:
    """Labels of every image that a data set yields.

    Args:
        dataset (Dataset): With ``get_cat_ids(index)``, as MMPretrain's; or a wrapper of
            such: MMEngine's, MMPretrain's ``KFoldDataset``, PyTorch's ``Subset``, or
            any with ``dataset`` and ``indices``.
        needed_by: Who needs the labels, for the message.

    Returns:
        list[Sequence[int]]: Known positives of each image, in the order of indices.

    Raises:
        ValueError: The data set cannot tell them.
    """
    if hasattr(dataset, "get_cat_ids"):  # ClassBalancedDataset has it too
        try:
            return [dataset.get_cat_ids(index) for index in range(len(dataset))]
        except NotImplementedError as error:  # MMEngine's BaseDataset has the name only
            raise _no_labels_error(dataset, needed_by) from error
    if hasattr(dataset, "datasets"):  # ConcatDataset
        parts = [image_labels(part, needed_by) for part in dataset.datasets]
        return [labels for part in parts for labels in part]
    if hasattr(dataset, "dataset") and hasattr(dataset, "times"):  # RepeatDataset
        return image_labels(dataset.dataset, needed_by) * dataset.times
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):  # Subset
        labels = image_labels(dataset.dataset, needed_by)
        return [labels[index] for index in dataset.indices]
    raise _no_labels_error(dataset, needed_by)


def _no_labels_error(dataset, needed_by: str) -> ValueError:
    return ValueError(
        f"{needed_by} needs to know the classes of each image, and "
        f"{type(dataset).__name__} has no get_cat_ids(index) that tells them: use "
        "ImageListDataset or another of MMPretrain's data sets (MMEngine's wrappers "
        "and Subset may be around it)."
    )


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
        labels = image_labels(dataset, needed_by)
        number = Counter(label for of_image in labels for label in set(of_image))
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
