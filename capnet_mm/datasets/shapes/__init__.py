"""Drawn pictures of coloured, textured shapes, the synthetic data of the demo."""

from .drawing import draw_scene, fade
from .vocabulary import CLASS_KINDS, CLASS_NAMES, COLORS, KINDS, SHAPES, TEXTURES, Kind

__all__ = [
    "CLASS_KINDS",
    "CLASS_NAMES",
    "COLORS",
    "KINDS",
    "Kind",
    "SHAPES",
    "TEXTURES",
    "draw_scene",
    "fade",
]
