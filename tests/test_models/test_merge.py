"""Adapters that are worked into the tower's weights give the same features."""

import open_clip
import pytest
import torch

from capnet_mm.models import CLIPBackbone

SIZES = dict(vit=32, resnet=64, timm=32, timm_vit=224)
BIAS, SCALE = dict(type="BiasTuning"), dict(type="ScaleShift")
CASES = [
    ("vit", dict(type="LoRA", rank=3, alpha=5)),
    ("vit", [dict(type="LoRA"), SCALE, BIAS]),
    ("timm_vit", dict(type="LoRA")),
    ("resnet", [SCALE, BIAS]),
    ("timm", [SCALE, BIAS]),
    ("timm", SCALE),
]


def trained_backbone(clip, adapter):
    torch.manual_seed(0)
    backbone = CLIPBackbone(clip, adapter=adapter)
    for parameter in backbone.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return backbone.eval()


@pytest.mark.parametrize(("tower", "adapter"), CASES)
def test_merged_towers_have_open_clips_layers_and_the_same_features(
    clips, tower, adapter
):
    backbone = trained_backbone(clips[tower], adapter)
    size = SIZES[tower]
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 3, size, size, generator=generator)
    with torch.no_grad():
        (expected,) = backbone(images)
        backbone.merge_adapters()
        torch.testing.assert_close(backbone(images)[0], expected, rtol=1e-4, atol=1e-5)
        backbone.merge_adapters()  # nothing is merged twice
        torch.testing.assert_close(backbone(images)[0], expected, rtol=1e-4, atol=1e-5)
    plain = open_clip.create_model(clips[tower]).visual
    names = set(backbone.visual.state_dict()) - {"head.proj.bias"}
    assert names == set(plain.state_dict())


def test_adaptformer_stays(clips):
    backbone = trained_backbone(
        clips["vit"], dict(type="AdaptFormer", bottleneck_dim=2)
    )
    names = set(backbone.state_dict())
    backbone.merge_adapters()
    assert set(backbone.state_dict()) == names
