"""One order of the classes for all data sets of a run."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from mmengine.dataset import BaseDataset

# Fields of a data set's metainfo that have one entry for each class.
_PER_CLASS = ("classes", "prompt_names", "class_counts")
# Fields of an image that hold labels; the third is of MMPretrain's VOC.
_LABELS = ("gt_label", "gt_unknown", "gt_label_difficult")


def class_positions(
    names: Sequence[str], wanted: Sequence[str], who: str, of: str
) -> list[int]:
    """Where each class stands in another order of the same classes.

    Args:
        names: The C names, in their order.
        wanted: The same names in the wanted order.
        who: Whose names they are, for the message.
        of: Whose order is wanted.

    Returns:
        list[int]: For each of ``names`` its index in ``wanted``.

    Raises:
        ValueError: The names are not the same, with both lists; or one is repeated.
    """
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        raise ValueError(
            f"{who} repeats the class names {repeated}, and has the classes in another "
            f"order than {of}: by name it cannot be said which is which. Give each "
            "class a name of its own."
        )
    if sorted(names) != sorted(wanted):
        only = sorted(set(names) - set(wanted)), sorted(set(wanted) - set(names))
        raise ValueError(
            f"The classes of {who} are not those of {of}. Only in the former: "
            f"{only[0]}; only in the latter: {only[1]}. {who}: {list(names)}; {of}: "
            f"{list(wanted)}. Both need the same names, in any order."
        )
    index = {name: i for i, name in enumerate(wanted)}
    return [index[name] for name in names]


def reorder_classes(dataset, wanted: Sequence[str], who: str, of: str) -> bool:
    """Number the classes of a data set as others do.

    Labels, unknown labels, scores, names, counts and groups follow. Within MMEngine's
    and PyTorch's wrappers every data set is renumbered. Data sets that state no
    classes stay as they are.

    Args:
        dataset: Changed in place.
        wanted: Names of the classes in the wanted order.
        who: The data set's name in messages.
        of: Whose order is wanted.

    Returns:
        bool: Whether anything was renumbered.

    Raises:
        ValueError: The names are not the same; or the data set is none of MMEngine's,
            and its order another.
    """
    inner = getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]
    if inner != [None]:
        changed = [reorder_classes(part, wanted, who, of) for part in inner]
        if "classes" in getattr(dataset, "_metainfo", {}):
            _reorder_metainfo(dataset._metainfo, wanted)
        return any(changed)
    names = (getattr(dataset, "metainfo", None) or {}).get("classes")
    if names is None or tuple(names) == tuple(wanted):
        return False
    new_label = class_positions(names, wanted, who, of)
    if not isinstance(dataset, BaseDataset):
        raise ValueError(
            f"The classes of {who} ({type(dataset).__name__}) stand in another order "
            f"than those of {of}: {list(names)} and {list(wanted)}. Only MMEngine's "
            "data sets can be renumbered here; give it the same order."
        )
    _renumber(dataset, new_label)
    _reorder_metainfo(dataset._metainfo, wanted)
    return True


def _renumber(dataset: BaseDataset, new_label: Sequence[int]) -> None:
    """Exchange the labels in the list of images."""
    dataset.full_init()
    # The entries as they are stored: subclasses add to what get_data_info returns.
    entries = [BaseDataset.get_data_info(dataset, i) for i in range(len(dataset))]
    for entry in entries:
        entry.pop("sample_idx", None)
        renumber_image(entry, new_label)
    dataset.data_list = entries
    if dataset.serialize_data:
        dataset.data_bytes, dataset.data_address = dataset._serialize_data()


def renumber_image(entry: dict, new_label: Sequence[int]) -> None:
    """Exchange the labels and reorder the scores of one image.

    Args:
        entry: What a list says of the image; changed in place.
        new_label: The new number of each class, (C,).
    """
    for field in _LABELS:
        if entry.get(field) is not None:
            entry[field] = _renumbered(entry[field], new_label)
    if entry.get("gt_score") is not None:
        entry["gt_score"] = np.asarray(entry["gt_score"])[np.argsort(new_label)]


def _renumbered(labels, new_label: Sequence[int]):
    """A label, or a collection of labels, sorted."""
    if isinstance(labels, list | tuple | set):
        return sorted(new_label[label] for label in labels)
    return new_label[int(labels)]


def _reorder_metainfo(metainfo: dict, wanted: Sequence[str]) -> None:
    new_label = class_positions(
        metainfo["classes"], wanted, "the data set", "the model"
    )
    for field in _PER_CLASS:
        if field in metainfo:
            by_new = sorted(zip(new_label, metainfo[field], strict=True))
            metainfo[field] = tuple(value for _, value in by_new)
    if "groups" in metainfo:
        metainfo["groups"] = {
            group: tuple(sorted(new_label[label] for label in labels))
            for group, labels in metainfo["groups"].items()
        }
