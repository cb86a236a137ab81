"""Long-tailed multi-label datasets, their transforms and samplers."""

from .class_names import read_class_names, readable_name
from .coco_lt import COCOLT
from .concat_dataset import ConcatDataset
from .image_list import ImageListDataset
from .long_tail import LongTailDraw, draw_long_tail, pareto_counts
from .nus_wide import NUSWIDE
from .samplers import ClassAwareSampler
from .shapes_lt import ShapesLT
from .transforms import (
    CorruptImageError,
    FastRandomResizedCrop,
    FastResizeEdge,
    FixedCrop,
    LoadCachedFeatures,
    LoadImage,
)
from .voc_lt import VOCLT

__all__ = [
    "COCOLT",
    "ClassAwareSampler",
    "ConcatDataset",
    "CorruptImageError",
    "FastRandomResizedCrop",
    "FastResizeEdge",
    "FixedCrop",
    "ImageListDataset",
    "LoadCachedFeatures",
    "LoadImage",
    "LongTailDraw",
    "NUSWIDE",
    "ShapesLT",
    "VOCLT",
    "draw_long_tail",
    "pareto_counts",
    "read_class_names",
    "readable_name",
]
