"""What every reader gives, every check looks at and the writer writes."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

LABEL_SOURCES = ("list", "annotations")


class LabelledImage(NamedTuple):
    """An image and its labels.

    Args:
        path (str): Relative to the data root, with forward slashes.
        labels (tuple[int, ...]): Sorted and unique; empty for a negative of every
            class.
        unknown (tuple[int, ...]): Classes of which it is not known whether the image
            shows them. Defaults to ().
    """

    path: str
    labels: tuple[int, ...]
    unknown: tuple[int, ...] = ()


class LabelDifference(NamedTuple):
    """Labels of one image on which two sources disagree.

    Args:
        split (str): 'train', 'test' or 'val'.
        path (str): The image.
        listed (tuple[int, ...]): Labels in the list.
        derived (tuple[int, ...]): Labels by the annotations.
    """

    split: str
    path: str
    listed: tuple[int, ...]
    derived: tuple[int, ...]


@dataclass
class LabelledSet:
    """A data set in memory.

    Args:
        name (str): 'voc_lt', 'coco_lt', 'nus_wide' or one's own; the files that are
            written begin with it.
        classes (tuple[str, ...]): Names of the C classes.
        prompt_names (tuple[str, ...]): The same in the words of prompts.
        splits (dict[str, list[LabelledImage]]): 'train', and 'test' or 'val'.
        sources (list[dict]): ``path`` and ``sha256`` of every file that was read.
        differences (list[LabelDifference]): Where two sources disagree.
        notes (list[str]): What else a user should know.
        options (dict): How it was read, for the record.
    """

    name: str
    classes: tuple[str, ...]
    prompt_names: tuple[str, ...]
    splits: dict[str, list[LabelledImage]]
    sources: list[dict] = field(default_factory=list)
    differences: list[LabelDifference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    options: dict = field(default_factory=dict)

    def class_counts(self, split: str) -> tuple[int, ...]:
        """n_c, the number of images of a split with each of the C classes."""
        counts = [0] * len(self.classes)
        for image in self.splits[split]:
            for label in image.labels:
                counts[label] += 1
        return tuple(counts)


def check_label_source(labels: str) -> None:
    """Raise ``ValueError`` unless ``labels`` is 'list' or 'annotations'."""
    if labels not in LABEL_SOURCES:
        raise ValueError(f"labels={labels!r} is unknown: expected {LABEL_SOURCES}.")


def merge_labels(
    split: str,
    paths: Sequence[str],
    listed: Sequence[tuple[int, ...] | None],
    derived: Sequence[tuple[int, ...] | None],
    prefer: str,
) -> tuple[list[LabelledImage], list[LabelDifference]]:
    """Take the labels of each image from the source that has them; compare both.

    Args:
        split (str): Name of the split, for the differences.
        paths (Sequence[str]): The N images.
        listed (Sequence[tuple[int, ...] | None]): Labels in the list, or None.
        derived (Sequence[tuple[int, ...] | None]): Labels by the annotations, or
            None. At least one of the two is there for each image.
        prefer (str): 'list' or 'annotations': whose labels are taken where both are
            there.

    Returns:
        tuple[list[LabelledImage], list[LabelDifference]]: N images, and the
        differences.
    """
    check_label_source(prefer)
    images, differences = [], []
    for path, by_list, by_annotation in zip(paths, listed, derived, strict=True):
        if by_list is not None and by_annotation is not None:
            if by_list != by_annotation:
                difference = LabelDifference(split, path, by_list, by_annotation)
                differences.append(difference)
            labels = by_list if prefer == "list" else by_annotation
        else:
            labels = by_annotation if by_list is None else by_list
        images.append(LabelledImage(path, labels))
    return images, differences


def source(path: Path, data_root: Path) -> dict:
    """``path`` and ``sha256`` of a file, for the record."""
    return {"path": shown_path(path, data_root), "sha256": file_hash(path)}


def folder_source(folder: Path, files: Iterable[Path], data_root: Path) -> dict:
    """One record of many files: SHA-256 over the names and hashes of all."""
    digest = hashlib.sha256()
    files = sorted(set(files))
    for path in files:
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{file_hash(path)}\n".encode())
    return {
        "path": shown_path(folder, data_root),
        "files": len(files),
        "sha256": digest.hexdigest(),
    }


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def shown_path(path: Path, data_root: Path) -> str:
    """A path inside the data root as seen from there, of any other the name.

    Where a download lies on one's own disk is nobody else's business.
    """
    path, data_root = path.resolve(), data_root.resolve()
    if path.is_relative_to(data_root):
        return path.relative_to(data_root).as_posix()
    return path.name


def read_text(path: Path, what: str, hint: str) -> str:
    """Read UTF-8 text.

    Args:
        path (Path): The file.
        what (str): What it is, for the error message ("image list").
        hint (str): What to do if it is missing.

    Returns:
        str: Its text, without a byte order mark.

    Raises:
        FileNotFoundError: It is missing.
        ValueError: It is not UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no {what} {path}: {hint}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} ({what}) is not UTF-8 text: {error}.") from error


def check_data_root(data_root: str | Path) -> Path:
    """The data root as a path; ``FileNotFoundError`` if it is no folder."""
    data_root = Path(data_root).expanduser()
    if not data_root.is_dir():
        raise FileNotFoundError(
            f"There is no data root {data_root}: give the folder that the download "
            "was unpacked in."
        )
    return data_root
