"""Transforms that MMCV and MMPretrain lack."""

from .fast_random_resized_crop import FastRandomResizedCrop
from .fast_resize_edge import FastResizeEdge
from .fixed_crop import FixedCrop
from .load_cached_features import LoadCachedFeatures
from .loading import CorruptImageError, LoadImage

__all__ = [
    "CorruptImageError",
    "FastRandomResizedCrop",
    "FastResizeEdge",
    "FixedCrop",
    "LoadCachedFeatures",
    "LoadImage",
]
