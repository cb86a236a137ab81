import open_clip
import pytest
import torch
from mmpretrain.registry import MODELS
from torch.nn import functional as F

from capnet_mm.models import CountAwarePrior, ImageFeatures

NAMES = ["dog", "cat", "tv"]


def test_it_is_clips_own_score_whatever_was_trained(clips):
    clip = clips["vit"]
    pooling = dict(type="ClassPooling", weight=0.0)  # no places: CLIP's pooled feature
    config = dict(
        type="CLIPClassifier",
        clip=dict(model=clip),
        backbone={},
        head=dict(classes=NAMES, prior=dict(pooling=pooling)),
    )
    model = MODELS.build(config).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    images = torch.randn(2, 3, 32, 32)
    bare = open_clip.create_model(clip).eval()
    tokenize = open_clip.get_tokenizer(clip)
    with torch.no_grad():
        words = bare.encode_text(tokenize([f"a photo of a {name}." for name in NAMES]))
        image = bare.encode_image(images)
        expected = 100 * F.normalize(image, dim=-1) @ F.normalize(words, dim=-1).T
        found = model.head.evidence(model.extract_feat(images))[-1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_places_that_speak_for_a_class_count():
    # One place of four shows the class, the others its opposite.
    places = torch.tensor([[1.0, -1, -1, -1]]).reshape(1, 1, 2, 2)
    places = torch.cat([places, torch.zeros_like(places)], dim=1)
    features = ImageFeatures(places, places.mean((2, 3)), places, places.mean((2, 3)))
    prior = CountAwarePrior(torch.tensor([[1.0, 0.0]]), scale=1.0)
    assert float(prior(features)) == pytest.approx(1, abs=1e-3)


def test_it_has_nothing_to_train_and_nothing_to_save():
    prior = CountAwarePrior(torch.randn(3, 4))
    assert not any(parameter.requires_grad for parameter in prior.parameters())
    assert not any("embeddings" in key for key in prior.state_dict())
