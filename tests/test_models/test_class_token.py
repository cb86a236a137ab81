import copy

import open_clip
import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import nn

from capnet_mm.models import CLIPBackbone
from capnet_mm.models.towers.class_token import (
    ClassTokenBlock,
    PackedSelfAttention,
    spare_training_work,
)

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def features_and_gradients(visual):
    visual.requires_grad_(True)
    features = visual(IMAGES)
    features = features[0] if isinstance(features, tuple) else features
    weight = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    (features * weight).sum().backward()
    return features.detach(), {n: p.grad for n, p in visual.named_parameters()}


def make_tower(**options):
    torch.manual_seed(0)
    sizes = dict(image_size=32, patch_size=8, width=32, layers=2, heads=2)
    return VisionTransformer(**sizes, mlp_ratio=4.0, output_dim=16, **options).eval()


def assert_equal_to_rounding(visual, bare):
    features, gradients = features_and_gradients(visual)
    expected, expected_gradients = features_and_gradients(bare)
    torch.testing.assert_close(features, expected)
    assert list(gradients) == list(expected_gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], msg=name)


def test_features_and_gradients_of_all_weights_are_open_clips(clips):
    visual = CLIPBackbone(clips["vit"]).visual
    bare = open_clip.create_model(clips["vit"]).eval().visual
    assert type(visual.transformer.resblocks[0].attn) is PackedSelfAttention
    assert type(bare.transformer.resblocks[0].attn) is nn.MultiheadAttention
    assert_equal_to_rounding(visual, bare)
    assert list(visual.state_dict()) == list(bare.state_dict())


def test_under_autocast_features_are_open_clips_to_half_precision(clips):
    visual = CLIPBackbone(clips["vit"]).visual
    bare = open_clip.create_model(clips["vit"]).eval().visual
    with torch.autocast("cpu", torch.bfloat16):
        features, expected = visual(IMAGES), bare(IMAGES)
    torch.testing.assert_close(features, expected, rtol=0.03, atol=0.03)


def test_only_the_class_token_passes_the_last_mlp_in_training(clips):
    visual = CLIPBackbone(clips["vit"]).visual
    lengths = []
    for block in visual.transformer.resblocks:
        block.mlp.register_forward_hook(lambda _, x, y: lengths.append(y.shape[1]))
    visual(IMAGES)
    assert lengths == [17, 1]
    with torch.no_grad():
        visual(IMAGES)
    assert lengths[2:] == [17, 17]


@pytest.mark.parametrize(
    "options",
    [
        dict(pool_type="avg"),
        dict(output_tokens=True),
        dict(attentional_pool=True, attn_pooler_heads=2),
    ],
)
def test_towers_that_read_all_tokens_keep_them(options):
    visual = make_tower(**options)
    bare = copy.deepcopy(visual)
    spare_training_work(visual)
    assert type(visual.transformer.resblocks[-1]) is ResidualAttentionBlock
    assert_equal_to_rounding(visual, bare)


def test_last_block_is_that_of_the_class_token_with_layer_scale_and_checkpointing():
    visual = make_tower(ls_init_value=0.3)
    visual.set_grad_checkpointing()
    bare = copy.deepcopy(visual)
    spare_training_work(visual)
    assert type(visual.transformer.resblocks[-1]) is ClassTokenBlock
    assert_equal_to_rounding(visual, bare)


def test_blocks_of_ones_own_are_left_alone():
    class OwnBlock(ResidualAttentionBlock):
        """A user's adapter may put it into the tower."""

    visual = make_tower()
    for block in visual.transformer.resblocks:
        block.__class__ = OwnBlock
    spare_training_work(visual)
    for block in visual.transformer.resblocks:
        assert type(block) is OwnBlock
        assert type(block.attn) is nn.MultiheadAttention


@pytest.mark.parametrize(
    "options",
    [
        dict(attn_mask=torch.ones(5, 5).triu(1).bool(), need_weights=False),
        dict(need_weights=True),
        dict(
            key_padding_mask=torch.tensor([[False] * 4 + [True]] * 2),
            need_weights=False,
        ),
    ],
)
def test_attention_does_what_pytorchs_layer_does_with_masks_and_weights(options):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    packed = copy.deepcopy(attention)
    packed.__class__ = PackedSelfAttention
    x = torch.randn(2, 5, 8)
    for one, other in zip(
        packed(x, x, x, **options), attention(x, x, x, **options), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_attention_to_other_tokens_is_pytorchs():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    packed = copy.deepcopy(attention)
    packed.__class__ = PackedSelfAttention
    q, x, other = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    for values in (x, other):
        mixed, _ = packed(q, x, values, need_weights=False)
        expected, _ = attention(q, x, values, need_weights=False)
        torch.testing.assert_close(mixed, expected)
