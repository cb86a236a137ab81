"""A labelled set, which readers give, checks look at and the writer writes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from capnet_mm.datasets.class_names import readable_name

Labels = tuple[int, ...]  # sorted and unique
LABEL_SOURCES = ("list", "annotations")


class LabelledImage(NamedTuple):
    """An image and its labels."""

    path: str  # from the data root on, with forward slashes
    labels: Labels  # empty for a negative of every class
    unknown: Labels = ()  # classes of which it is not known whether it shows them


class LabelDifference(NamedTuple):
    """Labels of one image on which its list and the annotations disagree."""

    split: str
    path: str
    listed: Labels
    derived: Labels


@dataclass
class LabelledSet:
    """A data set in memory."""

    name: str  # 'voc_lt', 'coco_lt', 'nus_wide' or one's own; files begin with it
    classes: Sequence[str]  # names of the C classes
    prompt_names: Sequence[str] | None  # in the words of prompts; None: readable names
    splits: dict[str, list[LabelledImage]]  # 'train', and then 'test' or 'val'
    sources: list[dict] = field(default_factory=list)  # path and sha256 of each file
    options: dict = field(default_factory=dict)  # how it was read, for the record
    differences: list[LabelDifference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what else a user should know

    def __post_init__(self) -> None:
        self.classes = tuple(self.classes)
        self.prompt_names = tuple(self.prompt_names or map(readable_name, self.classes))

    def add(self, split: str, image: LabelledImage, derived: Labels | None) -> None:
        """Add an image with the labels of a list, or None, and of annotations, or None.

        The list's are taken where both are there, unless ``options['labels']`` is
        'annotations'; a difference is noted.
        """
        if None not in (image.labels, derived) and image.labels != derived:
            found = LabelDifference(split, image.path, image.labels, derived)
            self.differences.append(found)
        by_annotations = self.options.get("labels") == "annotations"
        if image.labels is None or (by_annotations and derived is not None):
            image = image._replace(labels=derived)
        self.splits.setdefault(split, []).append(image)

    def class_counts(self, split: str) -> tuple[int, ...]:
        """n_c, the number of images of a split with each of the C classes."""
        counts = Counter(
            label for image in self.splits[split] for label in image.labels
        )
        return tuple(counts[label] for label in range(len(self.classes)))
