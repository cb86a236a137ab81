r"""NUS-WIDE as it is published, or from lists or a table.

What is published unpacks to (each archive into the data root, into a folder of its
name, or into that folder a second time; what is optional is compared)::

    ImageList/TrainImagelist.txt    and TestImagelist.txt: actor\0001_2124494179.jpg
    ImageList/Imagelist.txt         optional, of all images
    Groundtruth/TrainTestLabels     Labels_airport_Train.txt …: 0 or 1 a line
    Groundtruth/AllLabels           optional, Labels_airport.txt …
    ConceptsList/Concepts81.txt     optional
    Flickr                          actor/0001_2124494179.jpg …

Lists have one image a line, labels by name or by number from 0::

    actor/0001_2124494179.jpg,person sky
    actor/0001_2124494179.jpg 42 55

A table is one as ML-Decoder's ``nus_wid_data.csv``, in which 'val' is the test set::

    filepath,label,split_name
    images/0001_2124494179.jpg,"['person', 'sky']",train
"""

from pathlib import Path, PurePosixPath

from capnet_mm.datasets.list_files import check_images, read_text
from capnet_mm.datasets.nus_wide import NUS_WIDE_CONCEPTS, NUSWIDE
from capnet_mm.plain_text import shown

from .labelled_set import LabelledImage, LabelledSet, Labels
from .reading import SourceFiles, clean_path, wrong
from .table import Columns, LabelRow, label_rows, read_table, split_rows

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
    """Read NUS-WIDE in one of the forms that this module describes.

    Args:
        data_root (str | Path): The folder that the archives were unpacked in.
        image_dir (str): Folder in the data root that image paths start from (those
            of ML-Decoder's table start from another). Defaults to 'Flickr'.
        train_list (str | Path, optional): List of the training images. Defaults to
            None: what is published is read.
        test_list (str | Path, optional): List of the test images; goes with
            ``train_list``.
        table (str | Path, optional): Table of the images of both splits, in place of
            the two lists.
    """
    files = SourceFiles(data_root)
    if (train_list is None) != (test_list is None):
        raise ValueError(
            "One list alone is no data set: give both --train-list and --test-list, "
            "or neither, to read what is published."
        )
    if table is not None and train_list is not None:
        raise ValueError("Give --table, or --train-list and --test-list, not both.")
    if table is not None:
        rows = _read_table(files, Path(table).expanduser())
    elif train_list is not None:
        lists = {"train": train_list, "test": test_list}
        rows = {split: _read_list(files, Path(path)) for split, path in lists.items()}
    else:
        rows = {}
    result = files.start_set("nus_wide", NUSWIDE.METAINFO, image_dir=image_dir)
    for split, part in rows.items():
        result.splits[split] = label_rows(part, NUS_WIDE_CONCEPTS, image_dir)
    if not rows:
        _read_published(result, files)
    return result


def _read_table(files: SourceFiles, path: Path) -> dict[str, list[LabelRow]]:
    rows, _ = read_table(files, path, Columns("filepath", "label", "split_name"))
    rows = [row._replace(path=_clean(row.path)) for row in rows]
    check_images(((row.path, row.place) for row in rows), path)
    return split_rows(rows, path, "test")


def _read_list(files: SourceFiles, path: Path) -> list[LabelRow]:
    def parse(line: str, place: str) -> LabelRow:
        first, comma, rest = line.partition(",")
        image, *words = (first, *rest.split()) if comma else line.split()
        return LabelRow(_clean(image), words, [], place)

    hint = "check --train-list and --test-list."
    return files.read_images(path.expanduser(), hint, parse)


def _read_published(result: LabelledSet, files: SourceFiles) -> None:
    if concepts := files.find(_CONCEPTS):
        _check_concepts(concepts)
        files.record(concepts)
    train_list = files.find([f"{folder}/TrainImagelist.txt" for folder in _IMAGE_LISTS])
    lists = train_list.parent if train_list else files.root / _IMAGE_LISTS[0]
    folder = files.find(_LABELS) or files.root / _LABELS[0]
    everything, seen = {}, set()
    list_path, all_labels = lists / "Imagelist.txt", folder.parent / "AllLabels"
    if list_path.is_file() and all_labels.is_dir():
        everything = _read_columns(files, list_path, all_labels, "")
    elif list_path.is_file():
        everything = dict.fromkeys(_read_paths(files, list_path))
    for split, title in (("train", "Train"), ("test", "Test")):
        list_path = lists / f"{title}Imagelist.txt"
        labels_of = _read_columns(files, list_path, folder, f"_{title}")
        for image, labels in labels_of.items():
            # The split's own labels play the list: they are the ones taken.
            path = str(PurePosixPath(result.options["image_dir"]) / image)
            result.add(split, LabelledImage(path, labels), everything.get(image))
        seen.update(labels_of)
    if everything and seen != set(everything):
        result.notes.append(
            f"Imagelist.txt has {len(everything):,} images, train and test together "
            f"{len(seen):,}: {len(set(everything) - seen):,} are in neither, "
            f"{len(seen - set(everything)):,} only there."
        )


def _read_columns(
    files: SourceFiles, list_path: Path, folder: Path, end: str
) -> dict[str, Labels]:
    """Labels of the images of a list, from one file a concept with a 0 or 1 a line."""
    images = _read_paths(files, list_path)
    columns = [folder / f"Labels_{name}{end}.txt" for name in NUS_WIDE_CONCEPTS]
    labels: list[list[int]] = [[] for _ in images]
    for label, path in enumerate(columns):
        hint = "unpack Groundtruth.zip into the data root."
        lines = read_text(path, "label file", hint).rstrip().split("\n")
        if len(lines) != len(images):
            raise ValueError(
                f"{path} has {len(lines):,} lines, but {list_path} has {len(images):,} "
                "images: the two do not belong together, or one is cut off."
            )
        for index, line in enumerate(lines):
            if line.strip() == "1":
                labels[index].append(label)
            elif line.strip() != "0":
                raise wrong(f"{path}, line {index + 1}", "0 or 1", line)
    files.record(folder, columns)
    return dict(zip(images, map(tuple, labels), strict=True))


def _read_paths(files: SourceFiles, path: Path) -> list[str]:
    def parse(line: str, place: str) -> LabelRow:
        if not line.strip():
            reason = "the number of the line is what the label files go by"
            raise ValueError(f"{place} is empty: {reason}.")
        return LabelRow(_clean(line), [], [], place)

    hint = "unpack ImageList.zip into the data root."
    return [row.path for row in files.read_images(path, hint, parse, blank=True)]


def _clean(path: str) -> str:
    """An image path from the folder of the images on."""
    # Some copies have C:/ImageData/Flickr/actor/…
    return clean_path(path.strip()).rpartition("Flickr/")[2]


def _check_concepts(path: Path) -> None:
    hint = "unpack ConceptsList.zip into the data root."
    names = read_text(path, "list of concepts", hint).split()
    if len(names) != len(NUS_WIDE_CONCEPTS):
        raise ValueError(f"{path} names {len(names)} concepts, expected 81.")
    pairs = zip(names, NUS_WIDE_CONCEPTS, strict=True)
    for number, (name, published) in enumerate(pairs, start=1):
        if name != published:
            found = f"concept {shown(name)}, expected {published!r}, as published"
            raise ValueError(f"{path}, line {number}: {found}.")
