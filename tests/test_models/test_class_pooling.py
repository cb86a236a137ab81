import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.nn import functional as F

from capnet_mm.models import (
    ClassPooling,
    CLIPBackbone,
    CorrelationPromptHead,
    GlobalPooling,
    ImageFeatures,
)

NAMES = ["dog", "cat", "dining table"]
SIZES = dict(vit=32, timm_vit=224, resnet=64, timm=64)


def random_features(height=2, width=3, dim=4):
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(5, dim, height, width, generator=generator)
    pooled = torch.randn(5, dim, generator=generator)
    z = F.normalize(torch.randn(3, dim, generator=generator), dim=-1)
    return ImageFeatures(places, pooled, places, pooled), z


def images_for(vision, number=3):
    size = SIZES[vision]
    generator = torch.Generator().manual_seed(number)
    return torch.randn(number, 3, size, size, generator=generator)


def make_classifier(clip, **head):
    torch.manual_seed(0)
    config = dict(type="CLIPClassifier", clip=dict(model=clip), backbone={})
    return MODELS.build(dict(config, head=dict(classes=NAMES, **head))).eval()


def by_the_formula(features, z, weight, temperature):
    """Loops over images, classes and places in NumPy."""
    places, pooled, z = (
        each.double().numpy() for each in (features.map, features.pooled, z)
    )

    def cos(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    evidence = np.zeros((len(pooled), len(z)))
    for i, image in enumerate(places):
        for c, embedding in enumerate(z):
            at = np.array(
                [
                    cos(image[:, y, x], embedding)
                    for y in range(image.shape[1])
                    for x in range(image.shape[2])
                ]
            )
            shares = np.exp(at / temperature) / np.exp(at / temperature).sum()
            evidence[i, c] = (1 - weight) * cos(pooled[i], embedding)
            evidence[i, c] += weight * shares @ at
    return torch.from_numpy(evidence).float()


@pytest.mark.parametrize(("weight", "temperature"), [(1, 0.05), (0.3, 0.5), (0, 0.1)])
def test_scores_are_those_of_the_equation(weight, temperature):
    features, z = random_features()
    pooling = ClassPooling(weight=weight, temperature=temperature)
    found = pooling(features, z, torch.tensor([10.0]))
    expected = 10 * by_the_formula(features, z, weight, temperature)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_without_weight_scores_are_those_of_global_pooling():
    features, z = random_features()
    scale = torch.tensor([7.0])
    torch.testing.assert_close(
        ClassPooling(weight=0)(features, z, scale), GlobalPooling()(features, z, scale)
    )


def test_the_temperature_goes_from_the_mean_to_the_best_place():
    features, z = random_features()
    cosines = F.normalize(features.map, dim=1).flatten(2).mT @ z.T
    for temperature, expected in ((1e-4, cosines.amax(1)), (1e4, cosines.mean(1))):
        found = ClassPooling(temperature=temperature)(features, z, torch.ones(1))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_maps_say_where_the_score_comes_from():
    features, z = random_features()
    pooling = ClassPooling(temperature=0.2)
    cosines, attention = pooling.activation_maps(features, z)
    assert cosines.shape == attention.shape == (5, 3, 2, 3)
    expected = F.cosine_similarity(features.map[:, None], z[:, :, None, None], dim=2)
    torch.testing.assert_close(cosines, expected)
    torch.testing.assert_close(attention.sum((2, 3)), torch.ones(5, 3))
    scores = pooling(features, z, torch.ones(1))
    torch.testing.assert_close((cosines * attention).sum((2, 3)), scores)


def test_weight_and_temperature_are_trained_where_they_are_to_be():
    features, z = random_features()
    pooling = ClassPooling(weight=0.5, learnable=True)
    pooling(features, z, torch.ones(1)).square().sum().backward()
    assert {n: tuple(p.shape) for n, p in pooling.named_parameters()} == {
        "weight": (1,),
        "log_temperature": (1,),
    }
    assert all(p.grad.abs() > 0 for p in pooling.parameters())
    assert not any(p.requires_grad for p in ClassPooling().parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(weight=1.5), "weight must be within 0 and 1, got 1.5"),
        (dict(temperature=0), "temperature must be positive, got 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ClassPooling(**options)


@pytest.mark.parametrize("vision", list(SIZES))
def test_a_small_object_scores_as_the_place_that_shows_it(clips, vision):
    """Zero-shot: the class that a place's own feature is, wherever that place is."""
    model = make_classifier(
        clips[vision], prompt=None, gcn=None, pooling=dict(temperature=1e-3)
    )
    with torch.no_grad():
        images = images_for(vision)
        (features,) = model.extract_feat(images)
        places = F.normalize(features.map, dim=1).flatten(2)
        best = (model.head.class_embeddings() @ places).amax(2)
        torch.testing.assert_close(model(images), best / 0.1, rtol=1e-3, atol=1e-2)


def test_logits_are_float32_under_autocast(clips):
    model = make_classifier(clips["vit"], prompt=None, gcn=None, pooling=dict())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        (features,) = model.extract_feat(images_for("vit"))
        assert features.map.dtype == torch.bfloat16
        found = model.head((features,))
    assert found.dtype == torch.float32
    expected = 10 * by_the_formula(
        ImageFeatures(*(each.float() for each in features)),
        model.head.class_embeddings(),
        weight=1,
        temperature=0.05,
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("vision", list(SIZES))
def test_an_exported_model_takes_any_batch_and_equals_eager(clips, vision):
    model = make_classifier(clips[vision], prompt=None, gcn=None, pooling=dict())
    model.head.freeze_classes()
    with torch.no_grad():
        exported = torch.export.export(
            model,
            (images_for(vision, 2),),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        ).module()
        for number in (1, 5):
            images = images_for(vision, number)
            torch.testing.assert_close(
                exported(images), model(images), rtol=0, atol=1e-5
            )


def test_a_backbone_of_mmpretrains_gives_the_map_that_its_projection_is_applied_to(
    tiny_clip,
):
    torch.manual_seed(0)
    head = dict(
        type="CorrelationPromptHead",
        classes=NAMES,
        text_encoder=dict(model=tiny_clip),
        prompt=None,
        gcn=None,
        in_channels=512,
        pooling=dict(weight=0.4, temperature=0.1),
        loss=dict(type="CrossEntropyLoss", use_sigmoid=True),
    )
    model = MODELS.build(
        dict(
            type="ImageClassifier",
            backbone=dict(type="ResNet", depth=18, out_indices=(3,)),
            head=head,
        )
    ).eval()
    images = images_for("timm")
    with torch.no_grad():
        (stage,) = model.backbone(images)
        projection = model.head.projection
        places = F.conv2d(stage, projection.weight[..., None, None], projection.bias)
        features = ImageFeatures(stage, None, places, places.mean((2, 3)))
        z = model.head.class_embeddings()
        expected = by_the_formula(features, z, 0.4, 0.1) / 0.1
        torch.testing.assert_close(model(images), expected, rtol=1e-3, atol=1e-3)
    samples = [DataSample().set_gt_label([0])] * 3
    model.train()(images, samples, mode="loss")["loss"].backward()
    assert projection.weight.grad.abs().sum() > 0


def test_the_head_asks_its_clips_backbone_for_a_map(clips):
    plain = make_classifier(clips["timm"], prompt=None, gcn=None)
    pooling = make_classifier(clips["timm"], prompt=None, gcn=None, pooling=dict())
    assert plain.backbone.out_type == "pooled"
    assert pooling.backbone.out_type == "features"
    assert not {k for k in plain.state_dict() if "pooling" in k}
    images = images_for("timm")
    with torch.no_grad():
        pooled = pooling.extract_feat(images, stage="pre_logits")
        torch.testing.assert_close(pooled, plain.extract_feat(images)[0])


def test_features_without_a_map_are_refused_with_what_to_do(clips):
    head = CorrelationPromptHead(
        NAMES, dict(model=clips["vit"]), prompt=None, gcn=None, pooling=dict()
    )
    with pytest.raises(ValueError, match=r"\(2, 16\), one vector an image. Use CLIPB"):
        head(CLIPBackbone(clips["vit"])(images_for("vit", 2)))


def test_maps_without_pooling_are_refused_as_ever(clips):
    head = CorrelationPromptHead(NAMES, dict(model=clips["vit"]), prompt=None, gcn=None)
    with pytest.raises(ValueError, match="GlobalAveragePooling"):
        head((torch.rand(2, 16, 7, 7),))
    with pytest.raises(ValueError, match="pooling=dict"):
        head.class_activation_maps((torch.rand(2, 16),))
