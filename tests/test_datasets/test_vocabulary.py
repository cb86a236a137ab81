"""Words of the drawn objects."""

from collections import Counter

from capnet_mm.datasets.shapes import (
    CLASS_KINDS,
    CLASS_NAMES,
    COLORS,
    KINDS,
    SHAPES,
    TEXTURES,
)


def test_classes_share_every_word_evenly():
    assert len(set(KINDS)) == 256
    assert set(CLASS_KINDS) <= set(KINDS)
    words = Counter(word for name in CLASS_NAMES for word in name.split())
    assert {words[texture] for texture in TEXTURES} == {6}
    assert {words[word] for word in (*COLORS, *SHAPES)} == {3}
