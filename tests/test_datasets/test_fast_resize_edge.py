"""FastResizeEdge against Pillow."""

import pytest
from mmpretrain.datasets.transforms import ResizeEdge

from capnet_mm.datasets import FastResizeEdge

from .conftest import check_same, noise


@pytest.mark.parametrize("edge", ["short", "long", "width", "height"])
@pytest.mark.parametrize("size", [(80, 120), (120, 80)])
def test_edges_are_those_of_mmpretrain_with_pillow(size, edge):
    img = noise(*size, 3)
    ours = FastResizeEdge(32, edge)({"img": img})
    reference = ResizeEdge(32, edge, backend="pillow", interpolation="bicubic")
    theirs = reference({"img": img})
    check_same(ours.pop("img"), theirs.pop("img"))
    assert ours == theirs  # img_shape, scale, scale_factor
