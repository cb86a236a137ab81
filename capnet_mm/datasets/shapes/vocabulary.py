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
        """Name of the kind in words, e.g. ``'striped red circle'``."""
        return f"{self.texture} {self.color} {self.shape}"


# All 4 × 8 × 8 = 256 of them.
KINDS = tuple(Kind(*words) for words in itertools.product(TEXTURES, COLORS, SHAPES))

# The classes of ShapesLT, from the most frequent to the rarest: every texture is in
# 6 of them, every colour and every shape in 3, so that all share words. The rarer half
# are not shown in the demo's pre-training, as what is rare in a collection is mostly
# rare elsewhere; first among them stand those in red, which that CLIP tells anyway.
CLASS_NAMES = (
    "striped orange triangle",
    "plain cyan triangle",
    "striped purple ring",
    "plain orange square",
    "dotted green star",
    "checkered orange ring",
    "striped blue heart",
    "checkered pink triangle",
    "plain purple circle",
    "dotted green moon",
    "dotted yellow square",
    "dotted yellow cross",
    "plain red circle",
    "checkered red cross",
    "checkered red heart",
    "checkered pink cross",
    "checkered pink square",
    "striped purple star",
    "striped cyan circle",
    "striped green heart",
    "plain blue ring",
    "dotted cyan moon",
    "plain yellow star",
    "dotted blue moon",
)
CLASS_KINDS = tuple(Kind(*name.split()) for name in CLASS_NAMES)
NOT_PRETRAINED = CLASS_KINDS[12:]
