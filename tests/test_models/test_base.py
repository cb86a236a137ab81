"""What holds for every adapter."""

import open_clip
import pytest
import torch
from mmpretrain.registry import MODELS
from torch.nn import functional as F

from capnet_mm.models import CLIPBackbone
from capnet_mm.models.peft.base import Adapter, tower_name, transformer_blocks

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
ALL_ADAPTERS = [
    ("vit", dict(type="AdaptFormer", bottleneck_dim=3)),
    ("vit", dict(type="LoRA", rank=2)),
    ("vit", dict(type="ScaleShift")),
    ("vit", dict(type="BiasTuning")),
    ("timm_vit", dict(type="AdaptFormer", bottleneck_dim=3)),
    ("timm_vit", dict(type="LoRA", rank=2, targets=[r".*\.attn\.qkv"])),
    ("resnet", dict(type="ScaleShift")),
    ("resnet", [dict(type="ScaleShift"), dict(type="BiasTuning")]),
    ("timm", [dict(type="ScaleShift"), dict(type="BiasTuning")]),
]


def images_for(vision):
    sizes = dict(resnet=64, timm_vit=224)
    return F.interpolate(IMAGES, sizes.get(vision, 32))


@pytest.mark.parametrize(("vision", "adapter"), ALL_ADAPTERS)
def test_adapted_tower_starts_at_clip_exactly_and_learns(clips, vision, adapter):
    bare = open_clip.create_model(clips[vision]).eval()
    backbone = CLIPBackbone(clips[vision], adapter=adapter).train()
    images = images_for(vision)
    # Without gradient both take the same attention kernels, hence exactly equal.
    with torch.no_grad():
        expected = bare.encode_image(images)
        assert torch.equal(backbone(images)[0], expected)
    torch.testing.assert_close(backbone(images)[0], expected)

    trainable = [p for p in backbone.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=1.0)
    for _ in range(2):  # LoRA's and AdaptFormer's first step moves one factor only
        optimizer.zero_grad()
        backbone(images)[0].square().sum().backward()
        optimizer.step()
    assert (backbone(images)[0] - expected).abs().max() > 1e-4
    frozen = dict(bare.visual.named_buffers())
    for name, buffer in backbone.visual.named_buffers():
        if "running" in name:
            assert torch.equal(buffer, frozen[name]), f"{name} moved"


@pytest.mark.parametrize(("vision", "adapter"), ALL_ADAPTERS)
def test_what_an_adapter_inserts_has_one_name_in_every_tower(clips, vision, adapter):
    parts = dict(AdaptFormer=".adapter.", LoRA=".lora_", ScaleShift=".scale_shift.")
    adapter = adapter[0] if isinstance(adapter, list) else adapter
    bare = CLIPBackbone(clips[vision])
    names = dict(CLIPBackbone(clips[vision], adapter=adapter).named_parameters())
    inserted = len(names) - len(list(bare.parameters()))
    if adapter["type"] == "BiasTuning":  # changes no name
        assert list(names) == [name for name, _ in bare.named_parameters()]
        return
    named = {n: p for n, p in names.items() if parts[adapter["type"]] in n}
    assert len(named) == inserted > 0
    assert all(p.requires_grad for p in named.values())


def test_a_users_own_adapter_needs_no_change_of_the_backbone(clips):
    @MODELS.register_module(force=True)
    class TrainProjection(Adapter):
        def attach(self, visual, num_classes):
            visual.proj.requires_grad_(True)
            return []

    backbone = CLIPBackbone(clips["vit"], adapter=dict(type="TrainProjection"))
    trainable = [name for name, p in backbone.named_parameters() if p.requires_grad]
    assert trainable == ["visual.proj"]


@pytest.mark.parametrize(
    ("vision", "name", "num_blocks"),
    [
        ("vit", "VisionTransformer", 2),
        ("timm_vit", "VisionTransformer", 12),
        ("resnet", "ModifiedResNet", None),
        ("timm", "EfficientNet", None),
    ],
)
def test_towers_are_told_apart_by_name_and_blocks(clips, vision, name, num_blocks):
    visual = open_clip.create_model(clips[vision]).visual
    assert tower_name(visual) == name
    blocks = transformer_blocks(visual)
    assert (None if blocks is None else len(blocks)) == num_blocks
