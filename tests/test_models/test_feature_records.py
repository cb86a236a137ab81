"""Features as bytes: what comes back is what went in, up to the precision kept."""

import pytest
import torch
from mmpretrain.models.utils import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from torch.nn import functional as F

from capnet_mm.models import ImageFeatures
from capnet_mm.models.feature_records import FeatureLayout, FeaturePreprocessor


def features(batch=5, tower=24, width=16, places=(3, 2)):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    scale = 10 ** draw(batch, 1, *places)  # places of very different lengths
    return ImageFeatures(
        None,
        draw(batch, tower),
        scale * draw(batch, width, *places),
        draw(batch, width),
    )


def test_what_is_decoded_is_what_was_encoded_up_to_its_precision():
    given = features()
    layout = FeatureLayout.of(given)
    assert layout == (24, 16, (3, 2))
    records = layout.encode(given)
    assert records.shape == (5, layout.num_bytes) == (5, 2 * 24 + 2 * 16 + 6 * (4 + 16))
    found = layout.decode(records)
    assert torch.equal(found.tower, given.tower.half().float())
    assert torch.equal(found.pooled, given.pooled.half().float())
    largest = given.map.abs().amax(1, keepdim=True)  # of each place
    assert ((found.map - given.map).abs() <= largest / 127 / 2 * 1.0001).all()


def test_cosines_with_places_keep_three_digits():
    given = features(batch=40, width=512, places=(4, 4))
    layout = FeatureLayout.of(given)
    found = layout.decode(layout.encode(given))
    axis = F.normalize(
        torch.randn(512, generator=torch.Generator().manual_seed(1)), dim=0
    )
    cosines = [
        torch.einsum("bdhw,d->bhw", F.normalize(each.map, dim=1), axis)
        for each in (found, given)
    ]
    assert (cosines[0] - cosines[1]).abs().mean() < 5e-4


def test_pooled_features_alone_stand_for_the_towers():
    pooled = features().pooled
    layout = FeatureLayout.of(ImageFeatures(None, pooled, None, pooled))
    assert layout == (0, 16, None)
    found = layout.decode(layout.encode(ImageFeatures(None, pooled, None, pooled)))
    assert torch.equal(found.tower, pooled.half().float())
    assert found.map is None


def test_features_that_half_precision_cannot_hold_are_refused():
    given = features()
    given.tower[2, 3] = 1e6
    with pytest.raises(ValueError, match="not finite in float16"):
        FeatureLayout.of(given).encode(given)


@pytest.mark.parametrize("collate", [lambda records: records, list])
def test_a_model_takes_records_beside_images(collate):
    given = features()
    layout = FeatureLayout.of(given)
    own = ClsDataPreprocessor(
        mean=[1.0, 2.0, 3.0],
        std=[2.0, 2.0, 2.0],
        to_rgb=True,
        to_onehot=True,
        num_classes=4,
    )
    preprocessor = FeaturePreprocessor(own, layout)
    samples = [DataSample().set_gt_label([index % 4]) for index in range(5)]
    data = dict(inputs=collate(layout.encode(given)), data_samples=samples)
    prepared = preprocessor(data, True)
    assert torch.equal(prepared["inputs"].pooled, given.pooled.half().float())
    scores = [sample.gt_score.tolist() for sample in prepared["data_samples"]]
    assert scores == F.one_hot(torch.arange(5) % 4, 4).tolist()

    images = dict(inputs=torch.full((2, 3, 4, 4), 7, dtype=torch.uint8))
    torch.testing.assert_close(preprocessor(images)["inputs"], own(images)["inputs"])


def test_images_that_are_mixed_are_refused():
    mixing = ClsDataPreprocessor(
        batch_augments=dict(augments=[dict(type="Mixup", alpha=0.8)]), num_classes=4
    )
    with pytest.raises(ValueError, match="batch_augments"):
        FeaturePreprocessor(mixing, FeatureLayout(0, 4, None))
