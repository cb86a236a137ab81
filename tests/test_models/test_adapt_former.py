"""AdaptFormer."""

import open_clip
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from capnet_mm.models import CLIPBackbone
from capnet_mm.models.peft.adapt_former import AdaptFormerLayer

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("num_classes", "bottleneck_dim", "expected"),
    [(20, None, 46_104), (80, None, 64_548), (20, 64, 1_208_076)],
)
def test_adapt_former_has_lifts_sizes_on_vit_b16(num_classes, bottleneck_dim, expected):
    backbone = CLIPBackbone(
        "ViT-B-16",
        adapter=dict(type="AdaptFormer", bottleneck_dim=bottleneck_dim),
        num_classes=num_classes,
    )
    trainable = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
    assert trainable == expected


def test_adapt_former_is_added_beside_the_mlp_of_every_block(clips):
    """The tower's output, computed block by block from the published formula."""
    backbone = CLIPBackbone(
        clips["vit"], adapter=dict(type="AdaptFormer", bottleneck_dim=4)
    )
    adapters = [m for m in backbone.modules() if isinstance(m, AdaptFormerLayer)]
    for adapter in adapters:
        nn.init.normal_(adapter.up.weight, std=0.3)
        nn.init.normal_(adapter.up.bias, std=0.3)
        nn.init.constant_(adapter.scale, 0.7)
    visual = open_clip.create_model(clips["vit"]).eval().visual
    x = visual._embeds(IMAGES)
    for block, a in zip(visual.transformer.resblocks, adapters, strict=True):
        x = x + block.attention(block.ln_1(x))
        normed = F.layer_norm(x, (32,), a.norm.weight, a.norm.bias)
        hidden = (normed @ a.down.weight.T + a.down.bias).clamp(min=0)
        correction = 0.7 * (hidden @ a.up.weight.T + a.up.bias)
        x = x + block.mlp(block.ln_2(x)) + correction
    pooled, _ = visual._pool(x)
    torch.testing.assert_close(backbone(IMAGES)[0], pooled @ visual.proj)


def test_adapt_former_on_a_cnn_is_refused_with_what_to_use(clips):
    for vision, name in (("resnet", "ModifiedResNet"), ("timm", "EfficientNet")):
        with pytest.raises(ValueError, match=f"{name}.*ScaleShift"):
            CLIPBackbone(clips[vision], adapter=dict(type="AdaptFormer"), num_classes=5)


def test_adapt_former_asks_for_the_number_of_classes(clips):
    with pytest.raises(ValueError, match="num_classes"):
        CLIPBackbone(clips["vit"], adapter=dict(type="AdaptFormer"))
