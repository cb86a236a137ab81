import torch
from torch.nn import functional as F

from capnet_mm.models import FeatureAdapter, ImageFeatures


def test_features_are_bent_as_clip_adapters_paper_says():
    torch.manual_seed(0)
    neck = FeatureAdapter(8, ratio=0.3)
    features = torch.randn(5, 8)
    (found,) = neck((features,))
    first, second = neck.layers[0].weight, neck.layers[2].weight
    assert first.shape == (2, 8) and second.shape == (8, 2)
    unit = F.normalize(features, dim=-1)
    bent = (unit @ first.T).relu() @ second.T
    expected = 0.3 * bent.relu() + 0.7 * unit
    torch.testing.assert_close(
        F.normalize(found, dim=-1), F.normalize(expected, dim=-1)
    )


def test_pooled_feature_and_map_are_bent_alike_and_the_towers_own_stay():
    torch.manual_seed(0)
    neck = FeatureAdapter(8)
    places = torch.randn(2, 8, 3, 3)
    tower = torch.randn(2, 5)
    stage = ImageFeatures(None, tower, places, places[..., 1, 2])
    (found,) = neck((stage,))
    torch.testing.assert_close(found.map[..., 1, 2], found.pooled)
    assert found.tower is tower
    torch.testing.assert_close(neck((places,))[0], found.map)
