"""FastRandomResizedCrop against Pillow."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.datasets.transforms import RandomResizedCrop
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from capnet_mm.datasets import FastRandomResizedCrop

from .conftest import FILTERS, check_same, noise


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
