"""Lists of the images that make up a long-tailed set."""

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .labelled_set import read_text

_HINT = "name the list of the long-tailed set (see `--help` for where lists come from)."
_ID = re.compile(r"\w+")


class ListedImage(NamedTuple):
    """One line of a list.

    Args:
        image_id (str): Name of the image file, without folder and suffix.
        labels (tuple[int, ...] | None): Sorted and unique; None if the list has
            ids only.
        place (str): Where it stands, for error messages ("list.txt, line 3").
    """

    image_id: str
    labels: tuple[int, ...] | None
    place: str


def read_id_list(path: str | Path, num_classes: int) -> list[ListedImage]:
    """Read which images a set has.

    Two forms are known, one image a line. Ids alone, as in VOC's ``ImageSets`` and
    in the DB-loss project's ``img_id.txt`` and ``img_id.pkl`` (which is text, in
    spite of its name); and LMPT's, with labels::

        2008_000023
        VOCdevkit/VOC2012/JPEGImages/2008_000023.jpg 14 4 19

    Args:
        path (str | Path): The list.
        num_classes (int): C, to check labels against.

    Returns:
        list[ListedImage]: The images in the order of the list.

    Raises:
        FileNotFoundError: There is no such list.
        ValueError: It is a real pickle (which is never loaded: that can run code),
            empty, has an image twice, or a line that is neither form.
    """
    path = Path(path).expanduser()
    if path.is_file():
        _refuse_pickle(path)
    text = read_text(path, "image list", _HINT)
    images: list[ListedImage] = []
    place_of: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        image = _parse(line, f"{path}, line {number}", num_classes)
        if image.image_id in place_of:
            raise ValueError(
                f"{image.place}: image {image.image_id} is already in "
                f"{place_of[image.image_id]}; a list names each image once."
            )
        place_of[image.image_id] = image.place
        images.append(image)
    if not images:
        raise ValueError(f"Image list {path} is empty: it names no image.")
    with_labels = sum(image.labels is not None for image in images)
    if 0 < with_labels < len(images):
        odd = next(image for image in images if image.labels is None)
        raise ValueError(
            f"{odd.place}: an id alone, in a list of paths with labels; expected one "
            "form throughout."
        )
    return images


def _parse(line: str, place: str, num_classes: int) -> ListedImage:
    first, *words = line.split()
    if _ID.fullmatch(first):
        if words:
            raise ValueError(
                f"{place}: {line!r} is an id with further columns. Of VOC's ImageSets, "
                "give the file of all classes (trainval.txt), not that of one class "
                "(cow_trainval.txt)."
            )
        return ListedImage(first, None, place)
    image = PurePosixPath(first.replace("\\", "/"))
    if not image.suffix:
        raise ValueError(
            f"{place}: expected an image id (2008_000023) or 'path label label …', "
            f"got {line!r}."
        )
    labels = set()
    for word in words:
        if not re.fullmatch("[0-9]+", word) or int(word) >= num_classes:
            raise ValueError(
                f"{place}: label {word!r} is not a whole number from 0 to "
                f"{num_classes - 1}."
            )
        labels.add(int(word))
    return ListedImage(image.stem, tuple(sorted(labels)), place)


def _refuse_pickle(path: Path) -> None:
    with open(path, "rb") as file:
        start = file.read(2)
        file.seek(max(0, path.stat().st_size - 2))
        end = file.read().strip()
    # Binary protocols begin with 0x80; the textual one ends with a full stop after
    # an opening bracket or a global.
    if start[:1] == b"\x80" or (end[-1:] == b"." and start[:1] in b"(c]}"):
        raise ValueError(
            f"{path} is a Python pickle. It is not loaded, since a pickle can run any "
            "code: give the list as text, one id a line (the DB-loss project's "
            "img_id.txt, or its img_id.pkl that is text), or LMPT's list."
        )
