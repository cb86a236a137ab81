import copy

import open_clip
import pytest
import torch
from torch.nn import functional as F

from capnet_mm.models import CLIPBackbone
from capnet_mm.models.peft.adapt_former import AdaptFormerLayer

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


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


def test_only_inserted_modules_follow_the_mode(clips):
    backbone = CLIPBackbone(clips["vit"], adapter=dict(type="LoRA", drop_rate=0.5))
    backbone.train()
    modes = {type(m).__name__: m.training for m in backbone.visual.modules()}
    assert modes["Dropout"] and not modes["LayerNorm"]
    backbone.eval()
    assert not any(m.training for m in backbone.visual.modules())


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


@pytest.mark.parametrize("out_type", ["pooled", "features"])
@pytest.mark.parametrize("vision", ["vit", "timm_vit", "resnet", "timm"])
def test_frozen_features_give_what_their_images_give(clips, vision, out_type):
    adapter = dict(type="ScaleShift", space="joint")
    backbone = CLIPBackbone(clips[vision], adapter=adapter, out_type=out_type)
    torch.nn.init.normal_(backbone.visual.scale_shift.scale)
    images = images_for(vision)
    frozen = backbone.frozen_features(images)
    assert not frozen.pooled.requires_grad
    (expected,), (found,) = backbone(images), backbone(frozen)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    "adapter", ["auto", dict(type="LoRA", rank=2), dict(type="ScaleShift")]
)
def test_a_tower_that_is_trained_inside_has_no_frozen_features(clips, adapter):
    backbone = CLIPBackbone(clips["vit"], adapter=adapter, num_classes=3)
    with pytest.raises(ValueError, match="inside the image tower are trained"):
        backbone.frozen_features(IMAGES)


def test_frozen_identity_tells_towers_apart_and_nothing_else(clips):
    def identity(clip="vit", **kwargs):
        return CLIPBackbone(clips[clip], **kwargs).frozen_identity()

    joint = dict(type="ScaleShift", space="joint")
    assert identity() == identity(out_type="features", adapter=joint)
    assert identity() != identity("timm_vit")
    assert identity() != identity(quick_gelu=True)
