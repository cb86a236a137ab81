"""Reading and checking the two formats of image lists.

Both readers return one ``dict(img_path=…, gt_label=[…])`` per image, paths as
the list has them, labels sorted and unique. An image without labels is kept: it
is a negative of every class.
"""

import json
import posixpath
from pathlib import Path

from mmengine.fileio import exists, get_text


def is_json(path: str | Path) -> bool:
    """Whether a list is in MMPretrain's JSON format, by its name."""
    return str(path).endswith(".json")


def read_image_list(path: str, num_classes: int) -> list[dict]:
    """Read an image list: MMPretrain's JSON if it ends in ``.json``, else text.

    Args:
        path (str): The list.
        num_classes (int): C, to check the labels against.

    Returns:
        list[dict]: ``img_path`` (str) and ``gt_label`` (list of int, sorted and
        unique, maybe empty) of every image; for JSON also whatever else an
        entry holds.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The list has no images, a label that is not a whole number
            from 0 to C - 1, or a path twice; the message names the file and the
            line or the entry.
    """
    if is_json(path):
        entries = _json_entries(path)
    else:
        entries = _text_entries(path)

    images = []
    place_of: dict[str, str] = {}
    for place, entry in entries:
        labels = entry["gt_label"]
        for label in labels:
            if not 0 <= label < num_classes:
                raise ValueError(
                    f"{path}, {place}: label {label} is out of range; there are "
                    f"{num_classes} classes, so labels go from 0 to "
                    f"{num_classes - 1}."
                )
        key = posixpath.normpath(entry["img_path"])  # ./a.jpg is a.jpg
        if key in place_of:
            raise ValueError(
                f"{path}, {place}: image {entry['img_path']!r} is already at "
                f"{place_of[key]}; give each image once, with all its labels."
            )
        place_of[key] = place
        images.append({**entry, "gt_label": sorted(set(labels))})
    if not images:
        raise ValueError(f"Image list {path} is empty: it names no image.")
    return images


def read_json_classes(path: str) -> tuple[list[str], list[str] | None]:
    """Read the class names from the metainfo of MMPretrain's JSON.

    Args:
        path (str): The JSON file.

    Returns:
        tuple[list[str], list[str] | None]: ``classes``, or the names of
        ``categories`` by id; and ``prompt_names`` if there.

    Raises:
        ValueError: The metainfo has no names of classes.
    """
    metainfo = _load_json(path)["metainfo"]
    if "classes" in metainfo:
        names = metainfo["classes"]
    elif "categories" in metainfo:
        categories = sorted(metainfo["categories"], key=lambda entry: entry["id"])
        names = [entry["category_name"] for entry in categories]
    else:
        raise ValueError(
            f"{path} names no classes: expected metainfo.classes, a list of names "
            "(or give the dataset its argument `classes`)."
        )
    return names, metainfo.get("prompt_names")


def _read_text(path: str) -> str:
    if not exists(path):
        raise FileNotFoundError(
            f"There is no image list {path}: check `ann_file` / `train_ann_file` and "
            "`data_root` (lists are looked for in the data root unless their path "
            "is absolute)."
        )
    try:
        return get_text(path, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"Image list {path} is not UTF-8 text: {error}.") from error


def _text_entries(path: str):
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        img_path, *words = line.split()
        for word in words:
            # int() alone would take "1_0" for 10.
            if not word.removeprefix("-").isdecimal():
                raise ValueError(
                    f"{path}, line {number}: label {word!r} is not a whole number; "
                    "expected 'path label label …' (a path with spaces in it needs "
                    "the JSON format)."
                )
        labels = [int(word) for word in words]
        yield f"line {number}", {"img_path": img_path, "gt_label": labels}


def _json_entries(path: str):
    data_list = _load_json(path)["data_list"]
    for index, entry in enumerate(data_list):
        place = f"data_list[{index}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("img_path"), str):
            raise ValueError(
                f"{path}, {place}: expected an object with the path of the image as "
                f"'img_path', got {entry!r}."
            )
        labels = entry.get("gt_label")
        # bool is an int in Python, but true is no label.
        if not isinstance(labels, list) or not all(type(x) is int for x in labels):
            raise ValueError(
                f"{path}, {place} ({entry['img_path']}): expected 'gt_label', a list "
                f"of whole numbers (empty for an image without labels), got "
                f"{labels!r}."
            )
        yield place, entry


def _load_json(path: str) -> dict:
    try:
        content = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}.") from error
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("metainfo"), dict)
        or not isinstance(content.get("data_list"), list)
    ):
        raise ValueError(
            f"{path}: expected an object with 'metainfo' (an object) and 'data_list' "
            f"(a list of images), as MMPretrain's MultiLabelDataset reads it."
        )
    return content
