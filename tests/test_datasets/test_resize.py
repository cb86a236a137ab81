"""Resizing with PyTorch's kernels against Pillow."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from capnet_mm.datasets import FastRandomResizedCrop, FastResizeEdge
from capnet_mm.datasets.transforms.resize import resize

from .conftest import FILTERS, check_same, noise


def test_grey_and_flipped_images_are_resized_too():
    grey = noise(80, 60)
    ours = FastResizeEdge(30)({"img": grey})["img"]
    check_same(ours, Image.fromarray(grey).resize((30, 40), FILTERS["bicubic"]))
    flipped = np.flip(noise(80, 60, 3), 1)
    straight = FastResizeEdge(30)({"img": np.ascontiguousarray(flipped)})["img"]
    np.testing.assert_array_equal(FastResizeEdge(30)({"img": flipped})["img"], straight)


@pytest.mark.parametrize("transform", [FastRandomResizedCrop, FastResizeEdge])
def test_other_filters_are_refused(transform):
    with pytest.raises(ValueError, match="interpolation='lanczos': expected one of"):
        transform(32, interpolation="lanczos")


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("size", [(50, 24), (200, 130)])  # reduced and enlarged
def test_pixels_are_pillows(size, interpolation):
    image = noise(80, 60, 3)
    ours = resize(image, size, interpolation)
    assert ours.shape == (*size, 3) and ours.dtype == np.uint8
    check_same(ours, Image.fromarray(image).resize(size[::-1], FILTERS[interpolation]))
    plane = image[..., 0].astype(np.float32)
    theirs = Image.fromarray(plane).resize(size[::-1], FILTERS[interpolation])
    assert_allclose(resize(plane, size, interpolation), theirs, rtol=1e-4, atol=1e-3)
