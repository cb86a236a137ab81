"""COCO-LT from COCO's annotations and a long-tail list."""

import json
from pathlib import Path
from typing import NamedTuple

from capnet_mm.datasets.class_names import readable_name
from capnet_mm.datasets.coco_lt import COCO_CATEGORIES

from .id_lists import read_id_list
from .labelled_set import (
    LabelledSet,
    check_data_root,
    check_label_source,
    merge_labels,
    read_text,
    source,
)

_LABEL_OF = {name: label for label, name in enumerate(COCO_CATEGORIES)}
_TRAIN_LISTS = (
    "coco_lt_train.txt",
    "img_id.txt",
    "img_id.pkl",
    "longtail2017/img_id.txt",
    "longtail2017/img_id.pkl",
)


class CocoInstances(NamedTuple):
    """What ``instances_*.json`` says of the images.

    Args:
        file_names (dict[int, str]): By image id, in the file's order.
        labels (dict[int, tuple[int, ...]]): By image id; sorted, maybe empty.
    """

    file_names: dict[int, str]
    labels: dict[int, tuple[int, ...]]


def read_coco_instances(path: str | Path) -> CocoInstances:
    """Read the classes of COCO's images.

    Objects that are marked ``ignore``, whose area is not positive or whose box is
    less than a pixel wide or high are skipped. Crowds count.

    Args:
        path (str | Path): ``instances_train2017.json`` or ``…_val2017.json``.

    Returns:
        CocoInstances: File names and labels (positions in COCO's own order of 80
        classes) of all images, also of those without objects.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such a file; the message names the file and the entry.
    """
    path = Path(path).expanduser()
    text = read_text(
        path,
        "COCO annotation file",
        "unpack annotations_trainval2017.zip into the data root.",
    )
    try:
        # Outlines are nine tenths of the file and more of the memory; none is kept.
        content = json.loads(text, object_hook=_without_outline)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}.") from error
    del text
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(
                f"{path} has no list {key!r}: expected COCO's instances_*.json (not "
                "captions, not keypoints, not the answers of a detector)."
            )
    label_of = {}
    for index, entry in enumerate(content["categories"]):
        place = f"{path}, categories[{index}]"
        name = _get(entry, "name", str, place)
        if name not in _LABEL_OF:
            raise ValueError(f"{place}: {name!r} is none of COCO's 80 classes.")
        label_of[_get(entry, "id", int, place)] = _LABEL_OF[name]

    file_names: dict[int, str] = {}
    labels: dict[int, set[int]] = {}
    for index, entry in enumerate(content["images"]):
        place = f"{path}, images[{index}]"
        image_id = _get(entry, "id", int, place)
        if image_id in file_names:
            raise ValueError(f"{place}: image id {image_id} is there twice.")
        file_names[image_id] = _get(entry, "file_name", str, place)
        labels[image_id] = set()
    for index, entry in enumerate(content["annotations"]):
        place = f"{path}, annotations[{index}]"
        image_id = _get(entry, "image_id", int, place)
        category = _get(entry, "category_id", int, place)
        if image_id not in labels:
            raise ValueError(f"{place}: image_id {image_id} is none of the images.")
        if category not in label_of:
            raise ValueError(
                f"{place}: category_id {category} is none of the categories."
            )
        if _counts(entry, place):
            labels[image_id].add(label_of[category])
    return CocoInstances(
        file_names, {key: tuple(sorted(each)) for key, each in labels.items()}
    )


def read_coco_lt(
    data_root: str | Path,
    train_list: str | Path | None = None,
    test_list: str | Path | None = None,
    train_annotations: str | Path | None = None,
    test_annotations: str | Path | None = None,
    labels: str = "list",
) -> LabelledSet:
    """Read COCO-LT, or any other set of images of train2017 and val2017.

    Args:
        data_root (str | Path): Folder that ``annotations``, ``train2017`` and
            ``val2017`` are in.
        train_list (str | Path, optional): List of the training images (see
            :func:`read_id_list`). Defaults to None: ``coco_lt_train.txt`` (LMPT's),
            or the DB-loss project's ``img_id.txt`` or ``img_id.pkl``.
        test_list (str | Path, optional): Defaults to None: ``coco_lt_test.txt`` if
            it is there, else all images of the annotation file.
        train_annotations (str | Path, optional): Defaults to None:
            ``annotations/instances_train2017.json`` in the data root, which may be
            missing if the list has labels.
        test_annotations (str | Path, optional): The same for val2017.
        labels (str): Whose labels are taken where both are there: 'list' or
            'annotations'. Defaults to 'list'.

    Returns:
        LabelledSet: Splits 'train' and 'test'.

    Raises:
        FileNotFoundError: A list is missing, or the annotation file of images whose
            labels the list does not give.
        ValueError: A list or an annotation file is wrong, or an option.
    """
    data_root = check_data_root(data_root)
    check_label_source(labels)
    result = LabelledSet(
        name="coco_lt",
        classes=COCO_CATEGORIES,
        prompt_names=tuple(readable_name(name) for name in COCO_CATEGORIES),
        splits={},
        options={"labels": labels},
    )
    plans = (
        ("train", "train2017", train_list, _TRAIN_LISTS, train_annotations),
        ("test", "val2017", test_list, ("coco_lt_test.txt",), test_annotations),
    )
    for split, folder, given, names, annotations in plans:
        list_path = _find(data_root, given, names)
        if list_path is None and split == "train":
            raise FileNotFoundError(
                f"None of the lists {', '.join(names)} is in {data_root}: give the "
                "list of training images with --train-list (LMPT's, or the DB-loss "
                "project's img_id.pkl)."
            )
        name = f"annotations/instances_{folder}.json"
        json_path = _find(data_root, annotations, (name,))
        _read_split(
            result, split, folder, list_path, json_path or data_root / name, data_root
        )
    return result


def _read_split(
    result: LabelledSet,
    split: str,
    folder: str,
    list_path: Path | None,
    json_path: Path,
    data_root: Path,
) -> None:
    listed = None
    if list_path is not None:
        listed = read_id_list(list_path, len(COCO_CATEGORIES))
        result.sources.append(source(list_path, data_root))
    prefer = result.options["labels"]
    has_labels = listed is not None and listed[0].labels is not None
    if has_labels and prefer == "list" and not json_path.is_file():
        result.notes.append(
            f"{split}: {json_path.name} is not here; the labels are the list's, "
            "unchecked."
        )
        instances = None
    else:
        instances = read_coco_instances(json_path)
        result.sources.append(source(json_path, data_root))

    if listed is None:
        paths = [f"{folder}/{name}" for name in instances.file_names.values()]
        listed_labels = [None] * len(paths)
        derived = list(instances.labels.values())
    else:
        paths, listed_labels, derived = [], [], []
        for image in listed:
            if not image.image_id.isdecimal():
                raise ValueError(
                    f"{image.place}: {image.image_id!r} is no id of a COCO image; "
                    "expected a number, as in 554625 or train2017/000000554625.jpg."
                )
            image_id = int(image.image_id)
            if instances is not None and image_id not in instances.file_names:
                raise ValueError(
                    f"{image.place}: image {image_id} is not in {json_path}."
                )
            name = f"{image_id:012d}.jpg"  # COCO's own, of all 2017 images
            if instances is not None:
                name = instances.file_names[image_id]
            paths.append(f"{folder}/{name}")
            listed_labels.append(image.labels)
            derived.append(None if instances is None else instances.labels[image_id])
    result.splits[split], differences = merge_labels(
        split, paths, listed_labels, derived, prefer
    )
    result.differences += differences


def _without_outline(entry: dict) -> dict:
    entry.pop("segmentation", None)
    return entry


def _counts(entry: dict, place: str) -> bool:
    box = entry.get("bbox")
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(_is_number(x) for x in box)
        or not _is_number(entry.get("area"))
    ):
        raise ValueError(
            f"{place}: expected 'bbox', four numbers (x, y, width, height), and "
            f"'area', a number; got {box!r} and {entry.get('area')!r}."
        )
    _, _, width, height = box
    ignored = bool(entry.get("ignore", False))
    return not ignored and entry["area"] > 0 and width >= 1 and height >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _get(entry: object, key: str, kind: type, place: str):
    value = entry.get(key) if isinstance(entry, dict) else None
    if type(value) is not kind:
        raise ValueError(
            f"{place}: expected an object with {key!r} ({kind.__name__}), got "
            f"{entry!r}."
        )
    return value


def _find(
    data_root: Path, given: str | Path | None, names: tuple[str, ...]
) -> Path | None:
    if given is not None:
        return Path(given).expanduser()
    for name in names:
        if (data_root / name).is_file():
            return data_root / name
    return None
