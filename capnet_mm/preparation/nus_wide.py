"""NUS-WIDE as it is published, or from lists."""

from pathlib import Path, PurePosixPath

from capnet_mm.datasets.nus_wide import NUS_WIDE_CONCEPTS, NUS_WIDE_PROMPT_NAMES

from .labelled_set import (
    LabelledImage,
    LabelledSet,
    check_data_root,
    folder_source,
    merge_labels,
    read_text,
    source,
)
from .table import read_table, split_rows

_LABEL_OF = {name: label for label, name in enumerate(NUS_WIDE_CONCEPTS)}
# Each archive may have been unpacked into the data root, into a folder of its name,
# or into that folder a second time.
_IMAGE_LISTS = ("ImageList", "ImageList/ImageList", "")
_LABELS = (
    "Groundtruth/TrainTestLabels",
    "GroundTruth/TrainTestLabels",
    "Groundtruth/Groundtruth/TrainTestLabels",
    "TrainTestLabels",
)
_CONCEPTS = ("ConceptsList/Concepts81.txt", "Concepts81.txt")


def read_nus_wide(
    data_root: str | Path,
    image_dir: str = "Flickr",
    train_list: str | Path | None = None,
    test_list: str | Path | None = None,
    table: str | Path | None = None,
) -> LabelledSet:
    r"""Read NUS-WIDE.

    Without lists, from what is published (ImageList, Groundtruth, ConceptsList)::

        data_root
        ├── ImageList/TrainImagelist.txt    actor\0001_2124494179.jpg
        ├── ImageList/TestImagelist.txt
        ├── ImageList/Imagelist.txt         optional, of all images; then compared
        ├── Groundtruth/TrainTestLabels     Labels_airport_Train.txt …: 0 or 1 a line
        ├── Groundtruth/AllLabels           optional, Labels_airport.txt …; compared
        ├── ConceptsList/Concepts81.txt     optional; then compared
        └── Flickr/actor/0001_2124494179.jpg

    With ``train_list`` and ``test_list``, from these, one image a line, labels by
    name or by number from 0::

        actor/0001_2124494179.jpg,person sky
        actor/0001_2124494179.jpg 42 55

    With ``table``, from one as ML-Decoder's ``nus_wid_data.csv``, in which 'val' is
    the test set (its paths start from a folder of its own: see ``image_dir``)::

        filepath,label,split_name
        images/0001_2124494179.jpg,"['person', 'sky']",train

    Args:
        data_root (str | Path): The folder above.
        image_dir (str): Folder in the data root that image paths start from.
            Defaults to 'Flickr'.
        train_list (str | Path, optional): List of the training images with labels.
        test_list (str | Path, optional): The same of the test images.
        table (str | Path, optional): Of the images of both. Not with lists.

    Returns:
        LabelledSet: Splits 'train' and 'test'.

    Raises:
        FileNotFoundError: One of the files is missing.
        ValueError: A file is wrong, files are of different lengths, only one of two
            lists is given, or lists and a table; the message names file and line.
    """
    data_root = check_data_root(data_root)
    if (train_list is None) != (test_list is None):
        raise ValueError(
            "One list alone is no data set: give both --train-list and --test-list, "
            "or neither, to read what is published."
        )
    if table is not None and train_list is not None:
        raise ValueError("Give --table, or --train-list and --test-list, not both.")
    result = LabelledSet(
        name="nus_wide",
        classes=NUS_WIDE_CONCEPTS,
        prompt_names=NUS_WIDE_PROMPT_NAMES,
        splits={},
        options={"image_dir": image_dir},
    )
    if table is not None:
        path = Path(table).expanduser()
        result.splits = _read_table(path)
        result.sources.append(source(path, data_root))
    elif train_list is None:
        _read_published(result, data_root)
    else:
        for split, given in (("train", train_list), ("test", test_list)):
            path = Path(given).expanduser()
            result.splits[split] = _read_list(path)
            result.sources.append(source(path, data_root))
    for split, images in result.splits.items():
        result.splits[split] = [
            LabelledImage(str(PurePosixPath(image_dir) / image.path), image.labels)
            for image in images
        ]
    return result


def _read_published(result: LabelledSet, data_root: Path) -> None:
    concepts = _first(data_root, _CONCEPTS)
    if concepts.is_file():
        _check_concepts(concepts)
        result.sources.append(source(concepts, data_root))
    lists = _first(data_root, [f"{each}/TrainImagelist.txt" for each in _IMAGE_LISTS])
    lists = lists.parent
    folder = _first(data_root, _LABELS)
    everything = _read_all_labels(result, lists, folder.parent / "AllLabels", data_root)
    seen = set()
    for split, title in (("train", "Train"), ("test", "Test")):
        list_path = lists / f"{title}Imagelist.txt"
        paths = _read_paths(list_path)
        result.sources.append(source(list_path, data_root))
        files = [folder / f"Labels_{name}_{title}.txt" for name in NUS_WIDE_CONCEPTS]
        labels = _read_columns(files, len(paths), list_path)
        result.sources.append(folder_source(folder, files, data_root))
        # The first column plays the list: the split's own labels are the ones taken.
        result.splits[split], differences = merge_labels(
            split,
            paths,
            labels,
            [everything.get(path) if everything else None for path in paths],
            "list",
        )
        result.differences += differences
        seen.update(paths)
    if everything is not None and seen != set(everything):
        result.notes.append(
            f"Imagelist.txt has {len(everything):,} images, train and test together "
            f"{len(seen):,}: {len(set(everything) - seen):,} are in neither, "
            f"{len(seen - set(everything)):,} only there."
        )


def _read_all_labels(
    result: LabelledSet, lists: Path, folder: Path, data_root: Path
) -> dict[str, tuple[int, ...] | None] | None:
    """Labels by path from the files of all images; None without the list of these."""
    list_path = lists / "Imagelist.txt"
    if not list_path.is_file():
        return None
    paths = _read_paths(list_path)
    result.sources.append(source(list_path, data_root))
    if not folder.is_dir():
        return dict.fromkeys(paths)
    files = [folder / f"Labels_{name}.txt" for name in NUS_WIDE_CONCEPTS]
    labels = _read_columns(files, len(paths), list_path)
    result.sources.append(folder_source(folder, files, data_root))
    return dict(zip(paths, labels, strict=True))


def _read_columns(
    files: list[Path], length: int, list_path: Path
) -> list[tuple[int, ...]]:
    """Labels of every image from one file a concept with a 0 or 1 a line."""
    labels: list[list[int]] = [[] for _ in range(length)]
    for label, path in enumerate(files):
        text = read_text(
            path, "label file", "unpack Groundtruth.zip into the data root."
        )
        lines = text.rstrip().splitlines()
        if len(lines) != length:
            raise ValueError(
                f"{path} has {len(lines):,} lines, but {list_path} names {length:,} "
                "images: the two do not belong together, or one is cut off."
            )
        for index, line in enumerate(lines):
            value = line.strip()
            if value not in ("0", "1"):
                raise ValueError(
                    f"{path}, line {index + 1}: expected 0 or 1, got {line!r}."
                )
            if value == "1":
                labels[index].append(label)
    return [tuple(each) for each in labels]


def _read_paths(path: Path) -> list[str]:
    text = read_text(path, "image list", "unpack ImageList.zip into the data root.")
    line_of: dict[str, int] = {}
    for number, line in enumerate(text.rstrip().splitlines(), start=1):
        image = _clean(line)
        if not image:
            raise ValueError(
                f"{path}, line {number} is empty: the number of the line is what the "
                "label files go by."
            )
        if image in line_of:
            raise ValueError(
                f"{path}, line {number}: image {image} is already on line "
                f"{line_of[image]}."
            )
        line_of[image] = number
    if not line_of:
        raise ValueError(f"Image list {path} is empty: it names no image.")
    return list(line_of)


def _read_list(path: Path) -> list[LabelledImage]:
    text = read_text(path, "image list", "check --train-list and --test-list.")
    labels_of: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        first, comma, rest = line.partition(",")
        words = rest.split() if comma else first.split()[1:]
        image = _clean(first if comma else first.split()[0])
        labels = {_label(word, f"{path}, line {number}") for word in words}
        if not image or image in labels_of:
            raise ValueError(
                f"{path}, line {number}: expected the path of an image that is not "
                f"on an earlier line, got {line!r}."
            )
        labels_of[image] = tuple(sorted(labels))
    if not labels_of:
        raise ValueError(f"Image list {path} is empty: it names no image.")
    return [LabelledImage(*item) for item in labels_of.items()]


def _read_table(path: Path) -> dict[str, list[LabelledImage]]:
    rows, _ = read_table(path, "filepath", "label", split_column="split_name")
    splits: dict[str, list[LabelledImage]] = {}
    place_of: dict[str, str] = {}
    for split, part in split_rows(rows, path, "test").items():
        images = splits.setdefault(split, [])
        for row in part:
            image = _clean(row.path)
            if not image or image in place_of:
                raise ValueError(
                    f"{row.place}: expected the path of an image that is not on an "
                    f"earlier line, got {row.path!r}."
                )
            place_of[image] = row.place
            labels = {_label(name, row.place) for name in row.names}
            images.append(LabelledImage(image, tuple(sorted(labels))))
    return splits


def _label(word: str, place: str) -> int:
    if word in _LABEL_OF:
        return _LABEL_OF[word]
    if word.isascii() and word.isdecimal() and int(word) < len(_LABEL_OF):
        return int(word)
    raise ValueError(
        f"{place}: label {word!r} is neither one of the 81 concepts nor a number from "
        "0 to 80."
    )


def _clean(path: str) -> str:
    """Forward slashes, and from the folder of the images on."""
    path = path.strip().replace("\\", "/")
    return path.rpartition("Flickr/")[2]  # some copies: C:/ImageData/Flickr/actor/…


def _check_concepts(path: Path) -> None:
    lines = path.read_text(encoding="utf-8-sig").split()
    if tuple(lines) == NUS_WIDE_CONCEPTS:
        return
    if len(lines) != len(NUS_WIDE_CONCEPTS):
        raise ValueError(f"{path} names {len(lines)} concepts, expected 81.")
    pairs = enumerate(zip(lines, NUS_WIDE_CONCEPTS, strict=True), start=1)
    line, (found, expected) = next(item for item in pairs if item[1][0] != item[1][1])
    raise ValueError(
        f"{path}, line {line}: concept {found!r}, expected {expected!r}, as published."
    )


def _first(data_root: Path, names) -> Path:
    """The first of these that is there, else the first."""
    paths = [data_root / name for name in names]
    return next((path for path in paths if path.exists()), paths[0])
