"""Drawn images of coloured, textured shapes, the synthetic data of the demo."""

from .drawing import draw_scene, fade
from .vocabulary import (
    CLASS_KINDS,
    CLASS_NAMES,
    COLORS,
    KINDS,
    NOT_PRETRAINED,
    SHAPES,
    TEXTURES,
    Kind,
)

__all__ = [
    "CLASS_KINDS",
    "CLASS_NAMES",
    "COLORS",
    "KINDS",
    "Kind",
    "NOT_PRETRAINED",
    "SHAPES",
    "TEXTURES",
    "draw_scene",
    "fade",
]
