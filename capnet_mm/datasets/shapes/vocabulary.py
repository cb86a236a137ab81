"""Words for drawn objects: texture × colour × shape."""

import itertools
from typing import NamedTuple

TEXTURES = ("plain", "striped", "dotted", "checkered")
COLORS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "moon", "heart")


class Kind(NamedTuple):
    """A kind of object.

    Attributes:
        texture (str): One of ``TEXTURES``.
        color (str): One of ``COLORS``.
        shape (str): One of ``SHAPES``.
    """

    texture: str
    color: str
    shape: str

    @property
    def name(self) -> str:
        """How one says it, e.g. ``'striped red circle'``."""
        return f"{self.texture} {self.color} {self.shape}"


# All 4 × 8 × 8 = 256 of them.
KINDS = tuple(Kind(*words) for words in itertools.product(TEXTURES, COLORS, SHAPES))

# The classes of ShapesLT, from the most frequent to the rarest: every texture is in
# 6 of them, every colour and every shape in 3, so that all share words.
CLASS_NAMES = (
    "striped blue heart",
    "dotted blue moon",
    "dotted yellow cross",
    "checkered red heart",
    "plain cyan triangle",
    "striped green heart",
    "checkered pink triangle",
    "striped purple star",
    "plain orange square",
    "plain blue ring",
    "dotted green star",
    "checkered pink square",
    "plain purple circle",
    "striped cyan circle",
    "striped purple ring",
    "checkered pink cross",
    "dotted yellow square",
    "checkered red cross",
    "striped orange triangle",
    "dotted cyan moon",
    "dotted green moon",
    "plain red circle",
    "checkered orange ring",
    "plain yellow star",
)
CLASS_KINDS = tuple(Kind(*name.split()) for name in CLASS_NAMES)
