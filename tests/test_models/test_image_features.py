import torch
from torch import nn
from torch.nn import functional as F

from capnet_mm.models.image_features import (
    ImageFeatures,
    as_image_features,
    at_every_place,
    last_stage,
)

MAP, POOLED = torch.rand(2, 3, 4, 5), torch.rand(2, 3)


def test_a_linear_layer_at_every_place_is_a_convolution_of_one_pixel():
    layer = nn.Linear(3, 6)
    expected = F.conv2d(MAP, layer.weight[..., None, None], layer.bias)
    torch.testing.assert_close(at_every_place(layer, MAP), expected)


def test_only_what_is_in_the_joint_space_is_projected():
    features = ImageFeatures(MAP, POOLED, MAP, POOLED).project(nn.Linear(3, 6))
    assert [tuple(each.shape) for each in features] == [
        (2, 3, 4, 5),
        (2, 3),
        (2, 6, 4, 5),
        (2, 6),
    ]
    features = ImageFeatures(None, POOLED, None, POOLED).project(nn.Linear(3, 6))
    assert features.map is None and features.pooled.shape == (2, 6)


def test_the_last_stage_is_found_in_nested_tuples_and_features_stay_whole():
    features = ImageFeatures(MAP, POOLED, MAP, POOLED)
    assert last_stage((POOLED, [MAP, (POOLED, features)])) is features
    assert last_stage((MAP, (MAP, POOLED))) is POOLED
    assert last_stage(POOLED) is POOLED


def test_a_map_of_any_backbone_is_pooled_by_its_mean():
    features = as_image_features(MAP, has_map=True)
    assert features.tower_map is MAP and features.map is MAP
    torch.testing.assert_close(features.pooled, MAP.flatten(2).mean(2))
    assert features.tower is features.pooled
    assert as_image_features(MAP, has_map=False) == (None, MAP, None, MAP)
    assert as_image_features(POOLED, has_map=True) == (None, POOLED, None, POOLED)
    assert as_image_features(features, has_map=False) is features
