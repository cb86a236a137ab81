"""Reading, checking and writing the two formats of image lists.

Both readers return one ``dict(img_path=…, gt_label=[…])`` per image, paths as
the list has them, labels sorted and unique. An image without labels is kept: it
is a negative of every class. Where it is not known whether an image shows some
class, the dict also has ``gt_unknown=[…]``; in a text list these labels are
written with a question mark, ``a.jpg 3 ?7``.
"""

import json
import pickletools
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mmengine.fileio import get, isfile
from mmengine.logging import print_log
from mmengine.utils import is_abs

from capnet_mm.fileio import replace_files
from capnet_mm.plain_text import check_plain_text, shown

from .class_order import class_positions, renumber_image

_HINT = (
    "check `ann_file` / `train_ann_file` and `data_root` (lists are looked for in the "
    "data root unless their path is absolute)."
)
# int() alone would take "1_0" for 10, and fail for thousands of digits.
_TEXT_LABEL = re.compile("([?]?)(-?[0-9]{1,18})")
# Not all that Unicode counts as space: a path may have one.
_SPACE = re.compile("[ \t]+")
# As of Linux.
_LONGEST_PATH = 4096


def is_json(path: str | Path) -> bool:
    """Whether a list is in MMPretrain's JSON format, by its name."""
    return str(path).endswith(".json")


def read_image_list(
    path: str,
    num_classes: int,
    classes: Sequence[str] | None = None,
    text_classes: Sequence[str] | None = None,
    allow_outside: bool = False,
) -> list[dict]:
    """Read an image list: MMPretrain's JSON if it ends in ``.json``, else text.

    Args:
        path (str): The list.
        num_classes (int): C, to check the labels against.
        classes (Sequence[str], optional): Names of the classes that the returned
            labels are numbers of. Labels of a list that states its own names (JSON)
            are renumbered where these stand in another order. Defaults to None:
            labels as they are.
        text_classes (Sequence[str], optional): What a list that states no names
            numbers. Defaults to None: ``classes``.
        allow_outside (bool): Whether paths may leave the folder that they start from.
            Defaults to False.

    Returns:
        list[dict]: ``img_path`` (str) and ``gt_label`` (list of int, sorted and
        unique, maybe empty) of every image; ``gt_unknown`` (sorted and unique,
        never empty) of those with unknown labels; for JSON also whatever else an entry
        holds.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The list has no images, a label that is not a whole number
            from 0 to C - 1 or that is both positive and unknown, or a path
            twice; the message names the file and the line or the entry. Or it states
            other names than ``classes``.
    """
    names = text_classes
    if is_json(path):
        content = _load_json(path)
        entries = _json_entries(path, content["data_list"])
        names = _stated_classes(path, content["metainfo"]) or names
    else:
        entries = _text_entries(path)
    new_label = _new_labels(path, names, classes)

    images, places = [], []
    for place, entry in entries:
        image = _with_sorted_labels(entry, num_classes, f"{path}, {place}")
        if new_label is not None:
            renumber_image(image, new_label)
        images.append(image)
        places.append(f"{path}, {place}")
    paths = (image["img_path"] for image in images)
    check_images(zip(paths, places, strict=True), path, allow_outside)
    return images


def _with_sorted_labels(entry: dict, num_classes: int, place: str) -> dict:
    """The entry of an image, whose labels are checked, unique and sorted."""
    labels, unknown = set(entry["gt_label"]), set(entry.pop("gt_unknown", ()))
    for label in (*entry["gt_label"], *sorted(unknown)):
        if not 0 <= label < num_classes:
            raise ValueError(
                f"{place}: label {shown(label)} is out of range; there are "
                f"{num_classes} classes, so labels go from 0 to {num_classes - 1}."
            )
    if labels & unknown:
        raise ValueError(
            f"{place}: label {min(labels & unknown)} is given as positive and as "
            "unknown; decide for one."
        )
    image = {**entry, "gt_label": sorted(labels)}
    if unknown:
        image["gt_unknown"] = sorted(unknown)
    return image


def _new_labels(
    path: str, names: Sequence[str] | None, classes: Sequence[str] | None
) -> list[int] | None:
    """The number that each class of the list has in the wanted order, if another."""
    if classes is None or names is None or tuple(names) == tuple(classes):
        return None
    new_label = class_positions(names, classes, path, "the data set")
    print_log(
        f"{path} has its classes in another order than the data set: its labels are "
        "renumbered by name.",
        logger="current",
    )
    return new_label


def check_images(
    places: Iterable[tuple[str | int, str]],
    path: str | Path,
    allow_outside: bool = False,
) -> None:
    """Refuse a list that names no image, an image twice, or what is no path inside.

    Links are not looked at.

    Args:
        places (Iterable[tuple[str | int, str]]): Path or id of every image, and where
            it stands ("list.txt, line 3").
        path (str | Path): The list.
        allow_outside (bool): Whether paths may be absolute, addresses, or lead out of
            their folder by "..". Defaults to False.

    Raises:
        ValueError: It is such a list; the message names the place.
    """
    place_of: dict[str, str] = {}
    for image, place in places:
        key = posixpath.normpath(str(image))  # ./a.jpg is a.jpg
        if key == ".":
            raise ValueError(f"{place}: the path of the image is empty.")
        if isinstance(image, str):
            check_plain_text(image, f"{place}: the path", _LONGEST_PATH)
            if not allow_outside and _leads_outside(image, key):
                raise ValueError(
                    f"{place}: the path {shown(image)} leads out of the folder that "
                    "paths start from (data root and data_prefix). Correct the list or "
                    "the data root; if you trust the list, set allow_outside=True of "
                    "the data set."
                )
        if key in place_of:
            raise ValueError(
                f"{place}: image {shown(image)} is already at {place_of[key]}; give "
                "each image once, with all its labels."
            )
        # Of a million paths most are written so: no second copy of those is kept.
        place_of[image if key == image else key] = place
    if not place_of:
        raise ValueError(f"Image list {path} is empty: it names no image.")


def _leads_outside(path: str, normalized: str) -> bool:
    return is_abs(path) or "://" in path or normalized.split("/", 1)[0] == ".."


def write_image_list(
    path: str | Path, images: Sequence[dict], metainfo: dict | None = None
) -> None:
    """Write an image list that :func:`read_image_list` reads.

    It is written beside its place and moved there when complete: what is at
    ``path`` is the old file or the whole new one, never a part.

    Args:
        path (str | Path): MMPretrain's JSON if it ends in ``.json``, else text.
        images (Sequence[dict]): As :func:`read_image_list` returns them. A text
            list takes ``img_path``, ``gt_label`` and ``gt_unknown`` only.
        metainfo (dict, optional): For JSON: class names and the like.

    Raises:
        ValueError: A path has a space in it or begins with a byte order mark, which a
            text list cannot hold.
    """
    path = Path(path).expanduser()
    if is_json(path):
        content = {"metainfo": metainfo or {}, "data_list": list(images)}
        text = json.dumps(content, ensure_ascii=False, indent=1)
    else:
        text = "\n".join(_text_line(image) for image in images)
    replace_files({path: (text + "\n").encode()})


def _text_line(image: dict) -> str:
    img_path = image["img_path"]
    # The mark would be taken for that of the file.
    if img_path.split() != [img_path] or img_path.startswith("\ufeff"):
        raise ValueError(
            f"The path {shown(img_path)} has a space in it, begins with a byte order "
            "mark or is empty, which a text list cannot hold: write a .json list."
        )
    unknown = (f"?{label}" for label in image.get("gt_unknown", ()))
    return " ".join([img_path, *map(str, image["gt_label"]), *unknown])


def read_json_classes(path: str) -> tuple[list[str], list[str] | None]:
    """Read the class names from the metainfo of MMPretrain's JSON.

    Args:
        path (str): The JSON file.

    Returns:
        tuple[list[str], list[str] | None]: ``classes``, or the names of
        ``categories`` by id; and ``prompt_names`` if there.

    Raises:
        ValueError: The metainfo has no names of classes, or ids other than 0 to C-1.
    """
    metainfo = _load_json(path)["metainfo"]
    names = _stated_classes(path, metainfo)
    if names is None:
        raise ValueError(
            f"{path} names no classes: expected metainfo.classes, a list of names "
            "(or give the dataset its argument `classes`)."
        )
    return names, _names(path, metainfo, "prompt_names")


def _stated_classes(path: str, metainfo: dict) -> list[str] | None:
    """The names that a JSON list's labels are numbers of, if it says so."""
    if "categories" in metainfo and "classes" not in metainfo:
        return _category_names(path, metainfo["categories"])
    return _names(path, metainfo, "classes")


def _names(path: str, metainfo: dict, key: str) -> list[str] | None:
    names = metainfo.get(key)
    if names is None or _is_list_of(names, str):
        return names
    raise ValueError(
        f"{path}: expected metainfo.{key}, where it is given, to be a list of names, "
        f"got {shown(names)}."
    )


def _category_names(path: str, categories: object) -> list[str]:
    is_whole = _is_list_of(categories, dict) and all(
        type(entry.get("id")) is int and isinstance(entry.get("category_name"), str)
        for entry in categories
    )
    if not is_whole:
        raise ValueError(
            f"{path}: expected metainfo.categories to be a list of objects with 'id', "
            f"a whole number, and 'category_name', got {shown(categories)}."
        )
    categories = sorted(categories, key=lambda entry: entry["id"])
    ids = [entry["id"] for entry in categories]
    if ids != list(range(len(ids))):
        raise ValueError(
            f"{path}: the ids of metainfo.categories are {shown(ids)}; they must go "
            f"from 0 to {len(ids) - 1}, each once, since labels are these ids."
        )
    return [entry["category_name"] for entry in categories]


def read_text(path: str | Path, what: str, hint: str) -> str:
    r"""Read UTF-8 text.

    Args:
        path (str | Path): The file.
        what (str): What it is, for the error message ("image list").
        hint (str): What to do if it is missing.

    Returns:
        str: Its text, without a byte order mark; lines end with ``\n``.

    Raises:
        FileNotFoundError: It is missing.
        ValueError: It is a pickle, which is not loaded, or is not UTF-8.
    """
    if not isfile(path):
        raise FileNotFoundError(f"There is no {what} {path}: {hint}")
    content = get(path)
    if _is_pickle(content):
        raise ValueError(
            f"The {what} {path} is a Python pickle. It is not loaded, since a pickle "
            "can run any code: give it as text."
        )
    try:
        # "-sig": editors on Windows put a byte order mark before the first line.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"The {what} {path} is not UTF-8 text: {error}.") from error
    # Whoever parts lines does so by this sign alone: splitlines() knows ten more, and
    # the number of a line may be a label.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_pickle(content: bytes) -> bool:
    """Whether this is a pickle, of the oldest protocol too, which is text."""
    if content[:1] == b"\x80":
        return True
    content = content.rstrip()
    # Words that end with a full stop are seldom a program of pickle's.
    if content[-1:] != b"." or not content.startswith((b"(", b"c", b"]", b"}")):
        return False
    try:
        *_, (last, _, position) = pickletools.genops(content)
    except ValueError:
        return False
    return last.name == "STOP" and position == len(content) - 1


def read_json(
    path: str | Path, what: str, hint: str, change: Callable | None = None
) -> object:
    """Read JSON.

    Args:
        path (str | Path): The file, in UTF-8.
        what (str): What it is, for the error message.
        hint (str): What to do if it is missing.
        change (Callable, optional): What to do to each object. Defaults to None:
            nothing.

    Returns:
        object: What it holds.

    Raises:
        FileNotFoundError: It is missing.
        ValueError: It is not UTF-8, or no JSON; or an object has a key twice.
    """
    return parse_json(read_text(path, what, hint), path, change)


def parse_json(text: str, place: str | Path, change: Callable | None = None) -> object:
    """Read JSON, more strictly than Python does.

    Args:
        text (str): The JSON.
        place (str | Path): Where it stands, for the error message.
        change (Callable, optional): What to do to each object. Defaults to None:
            nothing.

    Returns:
        object: What it holds.

    Raises:
        ValueError: It is no JSON; or an object has a key twice.
    """

    def unique(pairs: list[tuple[str, object]]) -> dict:
        entry = dict(pairs)
        if len(entry) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"an object has the key {shown(twice)} twice")
        return entry if change is None else change(entry)

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no number of JSON's")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} is not valid JSON: {error}.") from error


def _text_entries(path: str):
    lines = read_text(path, "image list", _HINT).split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        img_path, *words = _SPACE.split(line.strip(" \t"))
        entry = {"img_path": img_path, "gt_label": [], "gt_unknown": []}
        for word in words:
            match = _TEXT_LABEL.fullmatch(word)
            if match is None:
                raise ValueError(
                    f"{path}, line {number}: label {shown(word)} is not a whole "
                    "number; expected 'path label label …', with ?label for one that "
                    "is unknown (a path with spaces in it needs the JSON format)."
                )
            entry["gt_unknown" if match[1] else "gt_label"].append(int(match[2]))
        yield f"line {number}", entry


def _json_entries(path: str, data_list: list):
    for index, entry in enumerate(data_list):
        place = f"data_list[{index}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("img_path"), str):
            raise ValueError(
                f"{path}, {place}: expected an object with the path of the image as "
                f"'img_path', got {shown(entry)}."
            )
        labels = entry.get("gt_label")
        if not _is_list_of(labels, int):
            raise ValueError(
                f"{path}, {place} ({shown(entry['img_path'])}): expected 'gt_label', a "
                "list of whole numbers (empty for an image without labels), got "
                f"{shown(labels)}."
            )
        unknown = entry.get("gt_unknown", [])
        if not _is_list_of(unknown, int):
            raise ValueError(
                f"{path}, {place} ({shown(entry['img_path'])}): expected 'gt_unknown', "
                "where it is given, to be a list of whole numbers, got "
                f"{shown(unknown)}."
            )
        yield place, entry


def _is_list_of(value: object, kind: type) -> bool:
    # bool is an int in Python, but true is no label.
    return isinstance(value, list) and all(type(each) is kind for each in value)


def _load_json(path: str) -> dict:
    content = read_json(path, "image list", _HINT)
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
