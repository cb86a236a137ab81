"""FastRandomResizedCrop and FastResizeEdge against Pillow."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.datasets.transforms import RandomResizedCrop, ResizeEdge
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from capnet_mm.datasets import FastRandomResizedCrop, FastResizeEdge

FILTERS = dict(
    bicubic=Image.Resampling.BICUBIC,
    bilinear=Image.Resampling.BILINEAR,
)
# uint8 weights of 16 bits: a few levels at single pixels of the hardest image, noise.
LARGEST, MEAN = 4, 0.05


def noise(height, width, *channels):
    rng = np.random.default_rng(height + width)
    return rng.integers(0, 256, (height, width, *channels), dtype=np.uint8)


def check_same(ours, theirs):
    difference = abs(np.asarray(ours).astype(int) - np.asarray(theirs))
    assert difference.max() <= LARGEST and difference.mean() <= MEAN


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("size", [(300, 200), (90, 130)])  # reduced and enlarged
def test_crops_and_pixels_are_those_of_mmpretrain_with_pillow(size, interpolation):
    img = noise(*size, 3)
    options = dict(
        scale=(64, 48), crop_ratio_range=(0.5, 1), interpolation=interpolation
    )
    ours = FastRandomResizedCrop(**options)
    theirs = RandomResizedCrop(backend="pillow", **options)
    for seed in range(5):
        crops = []
        for transform in (ours, theirs):
            np.random.seed(seed)
            crops.append(transform({"img": img})["img"])
        assert crops[0].shape == (64, 48, 3) and crops[0].dtype == np.uint8
        check_same(*crops)


def test_crop_is_pillows_resize_of_the_box_that_was_drawn():
    img = noise(200, 300, 3)
    transform = FastRandomResizedCrop(56)
    np.random.seed(3)
    top, left, height, width = transform.rand_crop_params(img)
    np.random.seed(3)
    results = transform({"img": img})
    crop = Image.fromarray(img[top : top + height, left : left + width])
    check_same(results["img"], crop.resize((56, 56), FILTERS["bicubic"]))
    assert results["img_shape"] == (56, 56)


@pytest.mark.parametrize("edge", ["short", "long", "width", "height"])
@pytest.mark.parametrize("size", [(80, 120), (120, 80)])
def test_edges_are_those_of_mmpretrain_with_pillow(size, edge):
    img = noise(*size, 3)
    ours = FastResizeEdge(32, edge)({"img": img})
    reference = ResizeEdge(32, edge, backend="pillow", interpolation="bicubic")
    theirs = reference({"img": img})
    check_same(ours.pop("img"), theirs.pop("img"))
    assert ours == theirs  # img_shape, scale, scale_factor


def test_grey_and_flipped_images_are_resized_too():
    grey = noise(80, 60)
    ours = FastResizeEdge(30)({"img": grey})["img"]
    check_same(ours, Image.fromarray(grey).resize((30, 40), FILTERS["bicubic"]))
    flipped = np.flip(noise(80, 60, 3), 1)
    straight = FastResizeEdge(30)({"img": np.ascontiguousarray(flipped)})["img"]
    np.testing.assert_array_equal(FastResizeEdge(30)({"img": flipped})["img"], straight)


def test_packed_views_are_channels_first_in_one_piece():
    init_default_scope("mmpretrain")
    img = noise(100, 120, 3)
    for prob in (0.0, 1.0):
        steps = (
            dict(type="FastRandomResizedCrop", scale=32, crop_ratio_range=(1, 1)),
            dict(type="RandomFlip", prob=prob),
            dict(type="PackInputs"),
        )
        results = {"img": img}
        for step in steps:
            np.random.seed(0)
            results = TRANSFORMS.build(step)(results)
        inputs = results["inputs"]
        assert inputs.shape == (3, 32, 32) and inputs.dtype == torch.uint8
        assert inputs.is_contiguous()
        np.random.seed(0)
        crop = FastRandomResizedCrop(32, (1, 1))({"img": img})["img"]
        expected = crop[:, ::-1] if prob else crop
        np.testing.assert_array_equal(inputs.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("transform", [FastRandomResizedCrop, FastResizeEdge])
def test_other_filters_are_refused(transform):
    with pytest.raises(ValueError, match="interpolation='lanczos': expected one of"):
        transform(32, interpolation="lanczos")
