import copy

import open_clip
import pytest
import torch
from open_clip.timm_model import TimmModel
from torch import nn
from torch.nn import functional as F

from capnet_mm.models import CLIPBackbone
from capnet_mm.models.towers.feature_map import give_features

SIZES = dict(vit=32, timm_vit=224, resnet=64, timm=64)
PLACES = dict(vit=4, timm_vit=14, resnet=2, timm=2)
BIAS, SCALE = dict(type="BiasTuning"), dict(type="ScaleShift")
ADAPT_FORMER = dict(type="AdaptFormer", bottleneck_dim=2)
CASES = [
    ("vit", [ADAPT_FORMER, SCALE]),
    ("vit", [dict(type="LoRA", rank=3, alpha=5), BIAS]),
    ("timm_vit", ADAPT_FORMER),
    ("timm_vit", [dict(type="LoRA", targets=[r".*\.(qkv|fc1)"]), SCALE]),
    ("resnet", [SCALE, BIAS]),
    ("timm", [SCALE, BIAS]),
]


def images_for(vision, number=3):
    size = SIZES[vision]
    generator = torch.Generator().manual_seed(0)
    return torch.randn(number, 3, size, size, generator=generator)


def trained_backbone(clip, adapter, **options):
    """A backbone no part of which is at its start."""
    torch.manual_seed(0)
    backbone = CLIPBackbone(clip, adapter=adapter, **options)
    for parameter in backbone.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return backbone.eval()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("vision", "adapter"), CASES)
def test_pooled_features_are_those_of_the_tower_without_a_map(
    clips, vision, adapter, training
):
    plain = trained_backbone(clips[vision], adapter)
    mapped = trained_backbone(clips[vision], adapter, out_type="features")
    images = images_for(vision)
    with torch.set_grad_enabled(training):
        (expected,), (features,) = plain(images), mapped(images)
    torch.testing.assert_close(features.pooled, expected, rtol=1e-4, atol=1e-5)
    assert list(mapped.state_dict()) == list(plain.state_dict())
    assert features.map.shape == (3, 16, PLACES[vision], PLACES[vision])
    assert features.tower_map.shape[1] == features.tower.shape[1]
    assert not torch.allclose(features.map[:, :, 0, 0], features.map[:, :, 1, 1])


@torch.no_grad()
@pytest.mark.parametrize("vision", ["vit", "timm_vit"])
def test_a_vits_map_is_that_of_patches_that_see_themselves_alone(clips, vision):
    """open_clip's and timm's own last block, with a mask over its attention."""
    (features,) = CLIPBackbone(clips[vision], out_type="features")(images_for(vision))
    visual = open_clip.create_model(clips[vision]).eval().visual
    is_timm = isinstance(visual, TimmModel)
    last = (visual.trunk.blocks if is_timm else visual.transformer.resblocks)[-1]
    alone = torch.full([PLACES[vision] ** 2 + 1] * 2, -torch.inf).fill_diagonal_(0)
    alone[0] = 0  # the class token sees all
    forward = last.forward
    last.forward = lambda x, **_: forward(x, attn_mask=alone)
    if is_timm:
        tokens = visual.trunk.forward_features(images_for(vision))
        joint = visual.head(tokens)
    else:
        tokens = visual.transformer(visual._embeds(images_for(vision)))
        tokens = visual.ln_post(tokens)
        joint = tokens @ visual.proj
    for found, expected in (
        (features.tower, tokens[:, 0]),
        (features.pooled, joint[:, 0]),
        (features.tower_map.flatten(2).mT, tokens[:, 1:]),
        (features.map.flatten(2).mT, joint[:, 1:]),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_resnets_map_has_the_values_that_attention_pooling_mixes(clips):
    backbone = trained_backbone(clips["resnet"], [SCALE, BIAS], out_type="features")
    (features,) = backbone(images_for("resnet"))
    visual, pool = backbone.visual, backbone.visual.attnpool.pool
    x = visual.layer4(
        visual.layer3(visual.layer2(visual.layer1(visual.stem(images_for("resnet")))))
    )
    positions = pool.positional_embedding[1:].T.unflatten(1, (2, 2))
    values = F.conv2d(x + positions, pool.v_proj.weight[..., None, None])
    values += pool.v_proj.bias[:, None, None]
    torch.testing.assert_close(features.tower_map, values, rtol=1e-4, atol=1e-5)
    layer = visual.attnpool.scale_shift
    for own, joint in (
        (features.tower, features.pooled),
        (features.tower_map[..., 1, 0], features.map[..., 1, 0]),
    ):
        expected = pool.c_proj(own) * layer.scale + layer.shift
        torch.testing.assert_close(joint, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_cnns_pooled_features_are_the_means_of_its_maps(clips):
    backbone = trained_backbone(clips["timm"], [SCALE, BIAS], out_type="features")
    (features,) = backbone(images_for("timm"))
    for places, pooled in (
        (features.tower_map, features.tower),
        (features.map, features.pooled),
    ):
        torch.testing.assert_close(places.mean((2, 3)), pooled, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("vision", "adapter"), CASES[1:])
def test_merged_adapters_give_the_same_maps(clips, vision, adapter):
    backbone = trained_backbone(clips[vision], adapter, out_type="features")
    (expected,) = backbone(images_for(vision))
    backbone.merge_adapters()
    for found, before in zip(backbone(images_for(vision))[0], expected, strict=True):
        torch.testing.assert_close(found, before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("vision", "adapter"), CASES)
def test_adapters_are_trained_through_the_map(clips, vision, adapter):
    backbone = trained_backbone(clips[vision], adapter, out_type="features").train()
    (features,) = backbone(images_for(vision))
    features.map.square().sum().backward()
    trained = {n: p for n, p in backbone.named_parameters() if p.requires_grad}
    # Queries and keys of attention pooling, and what works on the class token alone.
    unread = {n for n, p in trained.items() if p.grad is None or not p.grad.any()}
    assert not {n for n in unread if "q_proj" not in n and "k_proj" not in n}


def test_every_patch_passes_the_last_mlp_in_training_and_in_evaluation(clips):
    visual = CLIPBackbone(clips["vit"], out_type="features").visual
    lengths = []
    for block in visual.transformer.resblocks:
        block.mlp.register_forward_hook(lambda _, x, y: lengths.append(y.shape[1]))
    visual(images_for("vit"))
    with torch.no_grad():
        visual(images_for("vit"))
    assert lengths == [17] * 4


def test_a_compiled_tower_has_the_same_features(clips):
    plain = CLIPBackbone(clips["timm"], out_type="features")
    compiled = CLIPBackbone(
        clips["timm"], out_type="features", compile=dict(backend="aot_eager")
    )
    with torch.no_grad():
        results = plain(images_for("timm"))[0], compiled(images_for("timm"))[0]
        copied = copy.deepcopy(compiled)(images_for("timm"))[0]
    for one, other, third in zip(*results, copied, strict=True):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(one, third)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (dict(pool_type="avg", layers=1, width=64, patch_size=32), "VisionTransformer"),
        (dict(timm_model_name="mixer_s32_224", timm_pool="", timm_proj="linear"), "Ml"),
        (
            dict(
                timm_model_name="resnet10t",
                timm_pool="abs_attn",
                timm_proj="",
                image_size=64,
            ),
            "ResNet",
        ),
    ],
)
def test_towers_without_a_map_are_refused_at_once(config, kind):
    text = dict(context_length=8, vocab_size=16, width=16, heads=1, layers=1)
    visual = open_clip.CLIP(16, config, text).eval().visual
    with pytest.raises(ValueError, match=f"image tower {kind}.*pooling=None"):
        give_features(visual)
    assert isinstance(visual, nn.Module)


def test_only_two_kinds_of_output_are_known(clips):
    with pytest.raises(ValueError, match="'pooled' or 'features', got 'map'"):
        CLIPBackbone(clips["vit"], out_type="map")
