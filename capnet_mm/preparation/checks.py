"""What is in a set, and what is wrong with it."""

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from capnet_mm.datasets import COCOLT, NUSWIDE, VOCLT
from capnet_mm.datasets.transforms.loading import CorruptImageError, LoadImage
from capnet_mm.evaluation.frequency_groups import frequency_groups

from .labelled_set import LabelledSet
from .reading import file_hash

_Image = tuple[str, str]  # split and path
_DATA_SETS = {"voc_lt": VOCLT, "coco_lt": COCOLT, "nus_wide": NUSWIDE}


class PublishedNumber(NamedTuple):
    """A number found in a set, beside the number that its authors published."""

    name: str
    found: object
    published: object


@dataclass
class SetReport:
    """Findings of :func:`check_set`; counts are of the set as it is now."""

    labelled_set: LabelledSet
    images_checked: bool  # whether it was looked for missing images and same bytes
    images_opened: bool  # whether all images were decoded
    # By split, images that are not there, and those that do not open, and why.
    missing: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    broken: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    # 'split: path' of the same images of two splits, by path and by their bytes only.
    same_path: list[tuple[str, str]] = field(default_factory=list)
    same_bytes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def class_counts(self) -> dict[str, tuple[int, ...]]:
        """Images of each class, by split."""
        of = self.labelled_set
        return {split: of.class_counts(split) for split in of.splits}

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """Head, medium and tail classes, by training images."""
        return frequency_groups(self.labelled_set.class_counts("train"))

    @property
    def published_numbers(self) -> list[PublishedNumber]:
        """Numbers of the set, beside those published for a set of this name."""
        splits, counts = self.labelled_set.splits, self.class_counts["train"]
        if self.labelled_set.name not in _DATA_SETS or "test" not in splits:
            return []
        published = _DATA_SETS[self.labelled_set.name].PUBLISHED
        test = splits["test"]
        found = {
            "training images": len(splits["train"]),
            "test images": len(test),
            "training labels": sum(counts),
            "images of the rarest class": min(counts),
            "images of the most frequent class": max(counts),
            "head / medium / tail classes": tuple(map(len, self.groups.values())),
            "test images without label": sum(not image.labels for image in test),
        }
        return [
            PublishedNumber(name, found[name], value)
            for name, value in published.items()
        ]

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
) -> SetReport:
    """Check a set; all that is found is in the report, nothing raises.

    Args:
        labelled_set (LabelledSet): The set.
        data_root (str | Path): Folder that its image paths start from.
        check_images (bool): Whether to look that all images are there, and that no
            two of different splits are the same bytes (only files of the same size
            and end are read whole).
        open_images (bool): Whether to decode every image, to its end: it takes minutes.
    """
    data_root = Path(data_root).expanduser()
    report = SetReport(labelled_set, check_images or open_images, open_images)
    splits = labelled_set.splits.items()
    every = [(split, image.path) for split, images in splits for image in images]
    report.same_path = _pairs(_finer([every], lambda path: path))
    if report.images_checked:
        groups = [_look_for(every, data_root, report)]
        # From cheap to dear: of many images, few agree in size and end.
        for key in (lambda path: path.stat().st_size, _end, file_hash):
            groups = _finer(groups, lambda path, key=key: key(data_root / path))
        known = set(report.same_path)
        report.same_bytes = [pair for pair in _pairs(groups) if pair not in known]
    return report


def drop_unusable(report: SetReport) -> SetReport:
    """Take the images that are missing or do not open off the set, in place.

    ``ValueError`` if nothing would be left of a split. Returns the same report, which
    still lists what was dropped.
    """
    unusable = report.unusable
    _drop(
        report.labelled_set,
        "that are missing or do not open",
        lambda split, image: image.path in unusable[split],
    )
    return report


def drop_unlabelled(labelled_set: LabelledSet) -> None:
    """Take the images without any label off a set, in place; how many is noted.

    ``ValueError`` if nothing would be left of a split.
    """
    _drop(labelled_set, "without any label", lambda _, image: not image.labels)


def _drop(labelled_set: LabelledSet, which: str, unwanted: Callable) -> None:
    for split, images in labelled_set.splits.items():
        kept = [image for image in images if not unwanted(split, image)]
        number = len(images) - len(kept)
        if number and not kept:
            raise ValueError(
                f"All {number:,} images of {split} are "
                f"{which.removeprefix('that are ')}: check the data root and the image "
                "folder."
            )
        if number:
            labelled_set.splits[split] = kept
            note = f"{split}: {number:,} images {which} were left out."
            labelled_set.notes.append(note)
            dropped = labelled_set.options.setdefault("dropped", {})
            dropped[split] = dropped.get(split, 0) + number


def _look_for(every: list[_Image], data_root: Path, report: SetReport) -> list[_Image]:
    """The images that are there; which are not, or do not open, is reported."""
    load, there = LoadImage(), []
    for split, path in every:
        if not (data_root / path).is_file():
            report.missing[split].append(path)
            continue
        there.append((split, path))
        try:
            if report.images_opened:
                load({"img_path": str(data_root / path)})
        except CorruptImageError as error:
            report.broken[split][path] = str(error.__cause__ or error)
    return there


def _finer(groups: list[list[_Image]], key: Callable) -> list[list[_Image]]:
    """Part groups of images by a key; those of one split alone are left out."""
    finer = defaultdict(list)
    for number, group in enumerate(groups):
        for split, path in group:
            finer[number, key(path)].append((split, path))
    return [group for group in finer.values() if len(dict(group)) > 1]


def _pairs(groups: list[list[_Image]]) -> list[tuple[str, str]]:
    return [
        (": ".join(first), ": ".join(second))
        for group in groups
        for first, second in combinations(group, 2)
        if first[0] != second[0]
    ]


def _end(path: Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(-min(64, path.stat().st_size), os.SEEK_END)
        return file.read()
