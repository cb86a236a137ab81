"""Lists of the images that make up a long-tailed set.

Two forms are known, one image a line. Ids alone, as in VOC's ``ImageSets`` and in the
DB-loss project's ``img_id.txt`` and ``img_id.pkl`` (which is text, in spite of its
name); and LMPT's, with labels::

    2008_000023
    VOCdevkit/VOC2012/JPEGImages/2008_000023.jpg 14 4 19
"""

import re
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from capnet_mm.plain_text import shown

from .labelled_set import Labels
from .reading import SourceFiles, wrong

_HINT = "name the list of the long-tailed set (see `--help` for where lists come from)."


class ListedImage(NamedTuple):
    """One line of a list."""

    image_id: str  # name of the image file, without folder and suffix
    labels: Labels | None  # None in a list of ids
    place: str  # for error messages: "list.txt, line 3"


def read_id_list(files: SourceFiles, path: Path, num_classes: int) -> list[ListedImage]:
    """The images of a list in its order; labels are checked against C.

    A real pickle is refused and never loaded: that can run code.
    """
    images = files.read_images(path, _HINT, partial(_parse, num_classes=num_classes))
    bare = [image for image in images if image.labels is None]
    if 0 < len(bare) < len(images):
        raise ValueError(
            f"{bare[0].place}: an id alone, in a list of paths with labels; expected "
            "one form throughout."
        )
    return images


def _parse(line: str, place: str, num_classes: int) -> ListedImage:
    first, *words = line.split()
    if re.fullmatch(r"\w+", first):
        if not words:
            return ListedImage(first, None, place)
        raise ValueError(
            f"{place}: {shown(line)} is an id with further columns. Of VOC's "
            "ImageSets, give the file of all classes (trainval.txt), not that of one "
            "class (cow_trainval.txt)."
        )
    image = PurePosixPath(first.replace("\\", "/"))
    if not image.suffix:
        raise wrong(place, "an image id (2008_000023) or 'path label label …'", line)
    for word in words:
        if not re.fullmatch("[0-9]+", word) or int(word) >= num_classes:
            numbers = f"a whole number from 0 to {num_classes - 1}"
            raise ValueError(f"{place}: label {shown(word)} is not {numbers}.")
    return ListedImage(image.stem, tuple(sorted(set(map(int, words)))), place)
