"""Long-tailed multi-label datasets and their transforms."""

from .class_names import read_class_names, readable_name
from .coco_lt import COCOLT
from .image_list import ImageListDataset
from .transforms import CorruptImageError, FixedCrop, LoadImage
from .voc_lt import VOCLT

__all__ = [
    "COCOLT",
    "CorruptImageError",
    "FixedCrop",
    "ImageListDataset",
    "LoadImage",
    "VOCLT",
    "read_class_names",
    "readable_name",
]
