"""FixedCrop."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS
from torchvision.transforms.functional import five_crop

from capnet_mm.datasets import FixedCrop, LoadImage

from .conftest import encoded, photo

POSITIONS = ("top_left", "top_right", "bottom_left", "bottom_right", "center")


@pytest.mark.parametrize("size", [(31, 44), (32, 45), (20, 20)])
@pytest.mark.parametrize("crop", [20, (20, 17)])
def test_five_fixed_crops_are_torchvisions_five_crop(size, crop):
    img = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = five_crop(torch.from_numpy(img).permute(2, 0, 1), crop)
    for position, view in zip(POSITIONS, expected, strict=True):
        results = FixedCrop(crop, position)({"img": img})
        np.testing.assert_array_equal(results["img"], view.permute(1, 2, 0).numpy())
        assert results["img_shape"] == tuple(view.shape[1:])


def test_fixed_crops_are_views_of_a_test_time_augmentation(tmp_path):
    init_default_scope("mmpretrain")
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(photo()))
    crops = [dict(type="FixedCrop", crop_size=32, position=p) for p in POSITIONS]
    views = [
        [dict(type="ResizeEdge", scale=40, edge="short")],
        crops,
        [dict(type="PackInputs")],
    ]
    img = LoadImage()({"img_path": str(path)})
    packed = TRANSFORMS.build(dict(type="TestTimeAug", transforms=views))(img)
    resized = cv2.resize(img["img"], (60, 40), interpolation=cv2.INTER_LINEAR)
    expected = five_crop(torch.from_numpy(resized).permute(2, 0, 1), 32)
    assert len(packed["inputs"]) == len(packed["data_samples"]) == 5
    for view, reference in zip(packed["inputs"], expected, strict=True):
        assert torch.equal(view, reference)


def test_an_image_smaller_than_the_crop_is_named():
    img = np.zeros((30, 50, 3), np.uint8)
    with pytest.raises(ValueError, match="small.jpg is 30 x 50 .* 32 x 32"):
        FixedCrop(32)({"img": img, "img_path": "small.jpg"})


def test_wrong_arguments_of_a_crop_are_refused():
    with pytest.raises(ValueError, match="position='middle' is unknown"):
        FixedCrop(32, "middle")
    with pytest.raises(ValueError, match="crop_size=\\(0, 0\\)"):
        FixedCrop(0)
