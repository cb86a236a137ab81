import copy

import open_clip
import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn import functional as F

from capnet_mm.models import CLIPBackbone
from capnet_mm.models.peft import Adapter
from capnet_mm.models.peft.adapt_former import AdaptFormerLayer

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


@pytest.mark.parametrize("vision", ["vit", "timm_vit", "resnet", "timm"])
def test_without_adapter_features_equal_open_clips_exactly(clips, vision):
    bare = open_clip.create_model(clips[vision]).eval()
    backbone = CLIPBackbone(clips[vision])
    images = images_for(vision)
    with torch.no_grad():
        assert torch.equal(backbone(images)[0], bare.encode_image(images))
    assert not any(p.requires_grad for p in backbone.parameters())


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


def test_auto_takes_adapt_former_for_vits_and_lifts_choice_for_cnns(clips):
    vit = CLIPBackbone(clips["vit"], adapter="auto", num_classes=20)
    assert sum(isinstance(m, AdaptFormerLayer) for m in vit.modules()) == 2
    cnn = CLIPBackbone(clips["resnet"], adapter="auto")
    trainable = {name for name, p in cnn.named_parameters() if p.requires_grad}
    assert any("scale" in name for name in trainable)
    assert "visual.bn1.bias" in trainable
    assert "visual.bn1.weight" not in trainable
    with pytest.raises(ValueError, match="'auto'"):
        CLIPBackbone(clips["vit"], adapter="AdaptFormer")


def test_lora_refuses_attention_and_names_without_a_match(clips):
    with pytest.raises(ValueError, match="MultiheadAttention"):
        CLIPBackbone(clips["vit"], adapter=dict(type="LoRA", targets=[".*out_proj"]))
    with pytest.raises(ValueError, match="No linear layer"):
        CLIPBackbone(clips["vit"], adapter=dict(type="LoRA", targets=["nothing"]))


def test_only_inserted_modules_follow_the_mode(clips):
    backbone = CLIPBackbone(clips["vit"], adapter=dict(type="LoRA", drop_rate=0.5))
    backbone.train()
    modes = {type(m).__name__: m.training for m in backbone.visual.modules()}
    assert modes["Dropout"] and not modes["LayerNorm"]
    backbone.eval()
    assert not any(m.training for m in backbone.visual.modules())


def test_a_users_own_adapter_needs_no_change_of_the_backbone(clips):
    @MODELS.register_module(force=True)
    class TrainProjection(Adapter):
        def attach(self, visual, num_classes):
            visual.proj.requires_grad_(True)
            return []

    backbone = CLIPBackbone(clips["vit"], adapter=dict(type="TrainProjection"))
    trainable = [name for name, p in backbone.named_parameters() if p.requires_grad]
    assert trainable == ["visual.proj"]


@pytest.mark.parametrize("vision", ["vit", "resnet", "timm"])
def test_channels_last_changes_rounding_only(clips, vision):
    images = images_for(vision)
    features = CLIPBackbone(clips[vision])(images)[0]
    fast = CLIPBackbone(clips[vision], channels_last=True)(images)[0]
    torch.testing.assert_close(fast, features, rtol=1e-4, atol=1e-5)


def test_nothing_below_the_first_adapter_is_in_autograd(clips):
    adapter = dict(type="AdaptFormer", bottleneck_dim=3)
    backbone = CLIPBackbone(clips["vit"], adapter=adapter).train()
    blocks = backbone.visual.transformer.resblocks
    needs_gradient = {}

    def watch(name, module):
        module.register_forward_hook(
            lambda _, x, y: needs_gradient.update({name: y.requires_grad})
        )

    watch("patches", backbone.visual.conv1)
    watch("first norm", blocks[0].ln_1)
    watch("first MLP", blocks[0].mlp.branch)
    watch("first adapter", blocks[0].mlp.adapter)
    watch("second norm", blocks[1].ln_1)
    backbone(IMAGES)
    assert needs_gradient == {
        "patches": False,
        "first norm": False,
        "first MLP": False,
        "first adapter": True,
        "second norm": True,
    }


def test_compiled_tower_has_the_same_features_gradients_and_weight_names(clips):
    """Compilation is traced here and left to PyTorch's own kernels: no compiler."""
    results = []
    for options in (False, dict(backend="aot_eager")):
        torch.manual_seed(0)
        adapter = dict(type="AdaptFormer", bottleneck_dim=3)
        backbone = CLIPBackbone(clips["vit"], adapter=adapter, compile=options).train()
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.1)
        features = backbone(IMAGES)[0]
        features.square().sum().backward()
        gradients = [p.grad for p in backbone.parameters() if p.requires_grad]
        results.append((list(backbone.state_dict()), [features, *gradients]))
    (names, plain), (compiled_names, compiled) = results
    assert compiled_names == names
    for one, other in zip(plain, compiled, strict=True):
        torch.testing.assert_close(one, other)
    assert all(gradient.abs().max() > 0 for gradient in plain)


def test_compiled_tower_can_be_copied(clips):
    """As MMEngine's EMAHook does with the model."""
    backbone = CLIPBackbone(clips["vit"], compile=dict(backend="aot_eager"))
    with torch.no_grad():
        expected = backbone(IMAGES)[0]
        torch.testing.assert_close(copy.deepcopy(backbone)(IMAGES)[0], expected)
