"""What is in a set, and what is wrong with it."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from capnet_mm.datasets.transforms.loading import CorruptImageError, LoadImage
from capnet_mm.evaluation.frequency_groups import frequency_groups

from .labelled_set import LabelledImage, LabelledSet, file_hash


class PublishedFigures(NamedTuple):
    """Figures of a benchmark; None where none is published.

    Args:
        train (int): Number of training images.
        test (int): Number of test images.
        labels (int, optional): Number of labels of the training images.
        least (int, optional): Training images of the rarest class.
        most (int, optional): Training images of the most frequent class.
        groups (tuple[int, int, int], optional): Number of head, medium and tail
            classes.
        unlabelled_test (int, optional): Test images without label.
    """

    train: int
    test: int
    labels: int | None = None
    least: int | None = None
    most: int | None = None
    groups: tuple[int, int, int] | None = None
    unlabelled_test: int | None = None


# VOC-LT and COCO-LT: Wu et al. (ECCV 2020). NUS-WIDE: its own page.
PUBLISHED = {
    "voc_lt": PublishedFigures(1142, 4952, 2346, 4, 775, (6, 6, 8), 0),
    "coco_lt": PublishedFigures(1909, 5000, 8316, 6, 1128, (22, 33, 25), 48),
    "nus_wide": PublishedFigures(161789, 107859),
}


class Figure(NamedTuple):
    """One figure beside the published one.

    Args:
        name (str): What is counted.
        found (object): Here.
        published (object): By the authors.
    """

    name: str
    found: object
    published: object


class SameImage(NamedTuple):
    """An image in two splits.

    Args:
        first (str): 'split: path'.
        second (str): 'split: path'.
    """

    first: str
    second: str


@dataclass
class Report:
    """What :func:`check_set` found.

    Args:
        labelled_set (LabelledSet): The set.
        class_counts (dict[str, tuple[int, ...]]): Of every split.
        groups (dict[str, tuple[int, ...]]): Classes by training count.
        figures (list[Figure]): Those that are published for a set of this name.
        missing (dict[str, list[str]]): By split, images that are not there.
        broken (dict[str, dict[str, str]]): By split, images that do not open, and
            why.
        same_path (list[SameImage]): Images that two splits share.
        same_bytes (list[SameImage]): Other images of two splits that are the same
            byte for byte.
        images_checked (bool): Whether it was looked for missing images and same
            bytes.
        images_opened (bool): Whether all images were decoded.
    """

    labelled_set: LabelledSet
    class_counts: dict[str, tuple[int, ...]]
    groups: dict[str, tuple[int, ...]]
    figures: list[Figure]
    missing: dict[str, list[str]] = field(default_factory=dict)
    broken: dict[str, dict[str, str]] = field(default_factory=dict)
    same_path: list[SameImage] = field(default_factory=list)
    same_bytes: list[SameImage] = field(default_factory=list)
    images_checked: bool = False
    images_opened: bool = False

    @property
    def unusable(self) -> dict[str, set[str]]:
        """By split, the images that are missing or do not open."""
        return {
            split: {*self.missing.get(split, ()), *self.broken.get(split, ())}
            for split in self.labelled_set.splits
        }


def check_set(
    labelled_set: LabelledSet,
    data_root: str | Path,
    check_images: bool = True,
    open_images: bool = False,
) -> Report:
    """Count and check a set.

    Args:
        labelled_set (LabelledSet): The set.
        data_root (str | Path): Folder that its image paths start from.
        check_images (bool): Whether to look that all images are there, and that no
            two of different splits are the same bytes (only files of the same size
            and end are read whole). Defaults to True.
        open_images (bool): Whether to decode every image with :class:`LoadImage`,
            to its end. Defaults to False: it takes minutes.

    Returns:
        Report: All that was found; nothing raises.
    """
    data_root = Path(data_root).expanduser()
    counts = {split: labelled_set.class_counts(split) for split in labelled_set.splits}
    report = Report(
        labelled_set,
        counts,
        frequency_groups(counts["train"]),
        _compare(labelled_set, counts),
        same_path=_same_paths(labelled_set.splits),
        images_checked=check_images or open_images,
        images_opened=open_images,
    )
    if not report.images_checked:
        return report
    for split, images in labelled_set.splits.items():
        paths = [image.path for image in images]
        missing = [path for path in paths if not (data_root / path).is_file()]
        if missing:
            report.missing[split] = missing
        if open_images:
            absent = set(missing)
            broken = _open_all((p for p in paths if p not in absent), data_root)
            if broken:
                report.broken[split] = broken
    report.same_bytes = _same_bytes(labelled_set.splits, data_root)
    return report


def drop_unusable(report: Report) -> Report:
    """Take the images that are missing or do not open off the set, in place.

    Args:
        report (Report): What :func:`check_set` found.

    Returns:
        Report: Of the set as it is now; it still lists the images that were dropped.

    Raises:
        ValueError: Nothing would be left of a split.
    """
    labelled_set = report.labelled_set
    for split, unwanted in report.unusable.items():
        images = labelled_set.splits[split]
        kept = [image for image in images if image.path not in unwanted]
        _replace(labelled_set, split, kept, "that are missing or do not open")
    counts = {split: labelled_set.class_counts(split) for split in labelled_set.splits}
    return replace(
        report,
        class_counts=counts,
        groups=frequency_groups(counts["train"]),
        figures=_compare(labelled_set, counts),
    )


def drop_unlabelled(labelled_set: LabelledSet) -> None:
    """Take the images without any label off a set, in place; how many is noted.

    Args:
        labelled_set (LabelledSet): The set.

    Raises:
        ValueError: Nothing would be left of a split.
    """
    for split, images in list(labelled_set.splits.items()):
        kept = [image for image in images if image.labels]
        _replace(labelled_set, split, kept, "without any label")


def _replace(
    labelled_set: LabelledSet, split: str, kept: list[LabelledImage], which: str
) -> None:
    number = len(labelled_set.splits[split]) - len(kept)
    if not number:
        return
    if not kept:
        raise ValueError(
            f"All {number:,} images of {split} are {which.removeprefix('that are ')}: "
            "check the data root and the image folder."
        )
    labelled_set.splits[split] = kept
    labelled_set.notes.append(f"{split}: {number:,} images {which} were left out.")
    dropped = labelled_set.options.setdefault("dropped", {})
    dropped[split] = dropped.get(split, 0) + number


def _compare(
    labelled_set: LabelledSet, counts: dict[str, tuple[int, ...]]
) -> list[Figure]:
    published = PUBLISHED.get(labelled_set.name)
    if published is None or "test" not in labelled_set.splits:
        return []
    train, test = labelled_set.splits["train"], labelled_set.splits["test"]
    groups = frequency_groups(counts["train"])
    figures = [
        Figure("training images", len(train), published.train),
        Figure("test images", len(test), published.test),
        Figure("training labels", sum(counts["train"]), published.labels),
        Figure("images of the rarest class", min(counts["train"]), published.least),
        Figure(
            "images of the most frequent class", max(counts["train"]), published.most
        ),
        Figure(
            "head / medium / tail classes",
            tuple(len(each) for each in groups.values()),
            published.groups,
        ),
        Figure(
            "test images without label",
            sum(not image.labels for image in test),
            published.unlabelled_test,
        ),
    ]
    return [figure for figure in figures if figure.published is not None]


def _open_all(paths: Iterable[str], data_root: Path) -> dict[str, str]:
    load = LoadImage()
    broken = {}
    for path in paths:
        try:
            load({"img_path": str(data_root / path)})
        except CorruptImageError as error:
            broken[path] = str(error.__cause__ or error)
    return broken


def _same_paths(splits: dict[str, list[LabelledImage]]) -> list[SameImage]:
    found = []
    for first, second in combinations(splits, 2):
        there = {image.path for image in splits[first]}
        found += [
            SameImage(f"{first}: {image.path}", f"{second}: {image.path}")
            for image in splits[second]
            if image.path in there
        ]
    return found


def _same_bytes(
    splits: dict[str, list[LabelledImage]], data_root: Path
) -> list[SameImage]:
    candidates = [
        [
            (split, image.path)
            for split, images in splits.items()
            for image in images
            if (data_root / image.path).is_file()
        ]
    ]
    # From cheap to dear: of many images, few agree in size and end.
    for key in (_size, _end, file_hash):
        candidates = [
            group
            for entries in candidates
            for group in _grouped(entries, key, data_root)
            if len({split for split, _ in group}) > 1
        ]
    return [
        SameImage(": ".join(first), ": ".join(second))
        for entries in candidates
        for first, second in combinations(entries, 2)
        if first[0] != second[0] and first[1] != second[1]
    ]


def _grouped(
    entries: list[tuple[str, str]], key: Callable[[Path], object], data_root: Path
) -> list[list[tuple[str, str]]]:
    groups: dict[object, list[tuple[str, str]]] = {}
    for split, path in entries:
        groups.setdefault(key(data_root / path), []).append((split, path))
    return list(groups.values())


def _size(path: Path) -> int:
    return path.stat().st_size


def _end(path: Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(-min(64, _size(path)), os.SEEK_END)
        return file.read()
