"""Transforms that MMCV and MMPretrain lack."""

from .fixed_crop import FixedCrop
from .loading import CorruptImageError, LoadImage

__all__ = ["CorruptImageError", "FixedCrop", "LoadImage"]
