"""COCO-LT from COCO's annotations and a long-tail list."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from capnet_mm.datasets.coco_lt import COCOLT
from capnet_mm.datasets.list_files import check_images, read_json
from capnet_mm.plain_text import shown

from .id_lists import ListedImage, read_id_list
from .labelled_set import LABEL_SOURCES, LabelledImage, LabelledSet, Labels
from .reading import SourceFiles, check_choice, wrong

_LABEL_OF = {name: label for label, name in enumerate(COCOLT.METAINFO["classes"])}
_DB_LOSS = [
    f"{folder}img_id{end}"
    for folder in ("", "longtail2017/")
    for end in (".txt", ".pkl")
]
_TRAIN_LISTS = ["coco_lt_train.txt", *_DB_LOSS]


class CocoInstances(NamedTuple):
    """What ``instances_*.json`` says of the images, by image id."""

    file_names: dict[int, str]  # in the file's order
    labels: dict[int, Labels]  # maybe empty


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
        data_root (str | Path): Folder that ``annotations`` and the images are in.
        train_list (str | Path, optional): List of the training images, in a form of
            :mod:`.id_lists`. Defaults to LMPT's or the DB-loss project's file.
        test_list (str | Path, optional): List of the test images. Defaults to
            ``coco_lt_test.txt`` if it is there, else to all images of the annotation
            file.
        train_annotations (str | Path, optional): COCO's annotation file. Defaults to
            ``annotations/instances_train2017.json``; not needed if the list has labels.
        test_annotations (str | Path, optional): COCO's annotation file. Defaults to
            ``annotations/instances_val2017.json``; not needed if the list has labels.
        labels (str): Whose labels are taken where both are there: 'list' (default)
            or 'annotations'.
    """
    files = SourceFiles(data_root)
    check_choice("labels", labels, LABEL_SOURCES)
    result = files.start_set("coco_lt", COCOLT.METAINFO, labels=labels)
    train = files.find_list(_TRAIN_LISTS, train_list)
    _read_split(result, files, "train", train, train_annotations)
    test = files.find(["coco_lt_test.txt"], test_list)
    _read_split(result, files, "test", test, test_annotations)
    return result


def read_coco_instances(path: Path) -> CocoInstances:
    """Read ``instances_train2017.json`` or ``…_val2017.json``; errors name the entry.

    Objects that are marked ``ignore``, whose area is not positive or whose box is less
    than a pixel wide or high are skipped. Crowds count, and images without objects are
    there. Labels are positions in COCO's own order of 80 classes.
    """
    hint = "unpack annotations_trainval2017.zip into the data root."
    # Outlines are nine tenths of the file and more of the memory; none is kept.
    content = read_json(path, "COCO annotation file", hint, change=_without_outline)
    label_of = {}
    for place, entry in _entries(content, path, "categories", name=str, id=int):
        name = entry["name"]
        if name not in _LABEL_OF:
            raise ValueError(f"{place}: {shown(name)} is none of COCO's 80 classes.")
        label_of[entry["id"]] = _LABEL_OF[name]
    images = list(_entries(content, path, "images", id=int, file_name=str))
    check_images(((entry["id"], place) for place, entry in images), path)
    labels = {entry["id"]: set() for _, entry in images}
    ids = {"image_id": int, "category_id": int}
    for place, entry in _entries(content, path, "annotations", **ids):
        image_id, category = entry["image_id"], entry["category_id"]
        if image_id not in labels:
            raise ValueError(f"{place}: image_id {image_id} is none of the images.")
        if category not in label_of:
            raise ValueError(
                f"{place}: category_id {category} is none of the categories."
            )
        if _counts(entry, place):
            labels[image_id].add(label_of[category])
    return CocoInstances(
        {entry["id"]: entry["file_name"] for _, entry in images},
        {image_id: tuple(sorted(each)) for image_id, each in labels.items()},
    )


def _without_outline(entry: dict) -> dict:
    entry.pop("segmentation", None)
    return entry


def _entries(
    content: object, path: Path, key: str, **kinds: type
) -> Iterator[tuple[str, dict]]:
    """Place and content of each entry of a list, which has fields of these kinds."""
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(
            f"{path} has no list {key!r}: expected COCO's instances_*.json (not "
            "captions, not keypoints, not the answers of a detector)."
        )
    for index, entry in enumerate(entries):
        place = f"{path}, {key}[{index}]"
        for name, kind in kinds.items():
            if not isinstance(entry, dict) or type(entry.get(name)) is not kind:
                raise wrong(place, f"an object with {name!r} ({kind.__name__})", entry)
        yield place, entry


def _counts(entry: dict, place: str) -> bool:
    """Whether an object is large enough, and not marked to be ignored."""
    box, area = entry.get("bbox"), entry.get("area")
    numbers = [*box, area] if isinstance(box, list) else []
    # bool is an int in Python, but true is no length.
    if len(numbers) != 5 or not all(type(number) in (int, float) for number in numbers):
        expected = "'bbox', four numbers (x, y, width, height), and 'area', a number"
        raise wrong(place, expected, (box, area))
    return not entry.get("ignore") and area > 0 and min(box[2:]) >= 1


def _read_split(
    result: LabelledSet,
    files: SourceFiles,
    split: str,
    list_path: Path | None,
    annotations: str | Path | None,
) -> None:
    folder = {"train": "train2017", "test": "val2017"}[split]
    default = f"annotations/instances_{folder}.json"
    json_path = files.find([default], annotations) or files.root / default
    listed = read_id_list(files, list_path, len(_LABEL_OF)) if list_path else ()
    has_labels = listed and listed[0].labels is not None
    instances = None
    if has_labels and result.options["labels"] == "list" and not json_path.is_file():
        missing = f"{split}: {json_path.name} is not here"
        result.notes.append(f"{missing}; the labels are the list's, unchecked.")
    else:
        instances = read_coco_instances(json_path)
        files.record(json_path)
    for image in listed:
        name, derived = _look_up(image, instances, json_path)
        result.add(split, LabelledImage(f"{folder}/{name}", image.labels), derived)
    if not list_path:
        for key, name in instances.file_names.items():
            image = LabelledImage(f"{folder}/{name}", instances.labels[key])
            result.add(split, image, None)


def _look_up(
    image: ListedImage, instances: CocoInstances | None, json_path: Path
) -> tuple[str, Labels | None]:
    """File name and labels of an image by the annotations."""
    if not image.image_id.isdecimal():
        raise ValueError(
            f"{image.place}: {shown(image.image_id)} is no id of a COCO image; "
            "expected a number, as in 554625 or train2017/000000554625.jpg."
        )
    image_id = int(image.image_id)
    if instances is None:
        return f"{image_id:012d}.jpg", None  # COCO's own, of all 2017 images
    if image_id not in instances.file_names:
        raise ValueError(f"{image.place}: image {image_id} is not in {json_path}.")
    return instances.file_names[image_id], instances.labels[image_id]
