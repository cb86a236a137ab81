"""ScaleShift, against the tower computed up to its pooling by open_clip."""

import open_clip
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from capnet_mm.models import CLIPBackbone
from capnet_mm.models.peft.scale_shift import ScaleShift, ScaleShiftLayer

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def adapted(clip, images):
    """Features with a random scale and shift, and these two."""
    backbone = CLIPBackbone(clip, adapter=dict(type="ScaleShift"))
    (layer,) = (m for m in backbone.modules() if isinstance(m, ScaleShiftLayer))
    generator = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        parameter.data.normal_(generator=generator)
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert {name.rpartition(".")[2] for name in trained} == {"scale", "shift"}
    with torch.no_grad():
        return backbone(images)[0], layer.scale.detach(), layer.shift.detach()


def test_a_vits_class_token_is_scaled_and_shifted_before_its_projection(clips):
    features, scale, shift = adapted(clips["vit"], IMAGES)
    visual = open_clip.create_model(clips["vit"]).eval().visual
    with torch.no_grad():
        tokens = visual.transformer(visual._embeds(IMAGES))
        normed = visual.ln_post(tokens[:, 0])
        expected = (normed * scale + shift) @ visual.proj
    torch.testing.assert_close(features, expected)


def test_a_resnets_feature_is_scaled_and_shifted_after_attention_pooling(clips):
    images = F.interpolate(IMAGES, 64)
    features, scale, shift = adapted(clips["resnet"], images)
    clip = open_clip.create_model(clips["resnet"]).eval()
    with torch.no_grad():
        expected = clip.encode_image(images) * scale + shift
    torch.testing.assert_close(features, expected)


def test_a_timm_cnns_channels_are_scaled_and_shifted_before_the_projection(clips):
    features, scale, shift = adapted(clips["timm"], IMAGES)
    visual = open_clip.create_model(clips["timm"]).eval().visual
    with torch.no_grad():
        channels = visual.trunk(IMAGES)
        expected = visual.head.proj(channels * scale + shift)
    torch.testing.assert_close(features, expected)


def test_a_tower_that_pools_elsewhere_is_refused_by_name():
    with pytest.raises(ValueError, match="where Sequential pools"):
        ScaleShift().attach(nn.Sequential(nn.Linear(2, 2)), None)


@pytest.mark.parametrize("vision", ["vit", "timm_vit", "resnet", "timm"])
def test_in_the_joint_space_every_towers_features_are_scaled_and_shifted(clips, vision):
    size = dict(resnet=64, timm_vit=224).get(vision, 32)
    images = F.interpolate(IMAGES, size)
    adapter = dict(type="ScaleShift", space="joint")
    clip = open_clip.create_model(clips[vision]).eval()
    pooled = CLIPBackbone(clips[vision], adapter=adapter)
    local = CLIPBackbone(clips[vision], adapter=adapter, out_type="features")
    plain = CLIPBackbone(clips[vision], out_type="features")
    for layer in (pooled.visual.scale_shift, local.visual.scale_shift):
        generator = torch.Generator().manual_seed(1)
        layer.scale.data.normal_(generator=generator)
        layer.shift.data.normal_(generator=generator)
    with torch.no_grad():
        expected = clip.encode_image(images) * layer.scale + layer.shift
        torch.testing.assert_close(pooled(images)[0], expected)
        torch.testing.assert_close(local(images)[0].pooled, expected)
        scale, shift = layer.scale[:, None, None], layer.shift[:, None, None]
        torch.testing.assert_close(
            local(images)[0].map, plain(images)[0].map * scale + shift
        )
        pooled.merge_adapters()  # nothing to merge with
        torch.testing.assert_close(pooled(images)[0], expected)


def test_another_space_is_refused():
    with pytest.raises(ValueError, match="'tower' or 'joint', got 'text'"):
        ScaleShift(space="text")
