"""Our causal blocks against open_clip's own, with its mask."""

import copy

import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock, Transformer
from torch import nn

from capnet_mm.models.towers.causal_block import (
    CausalBlock,
    CausalSelfAttention,
    is_plain_block,
    make_causal,
)

LENGTH, WIDTH = 7, 16


@pytest.fixture
def transformers():
    """The same weights in open_clip's classes and in ours."""
    torch.manual_seed(0)
    usual = Transformer(WIDTH, layers=2, heads=4).eval()
    for parameter in usual.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = copy.deepcopy(usual)
    assert make_causal(ours)
    return usual, ours


def mask(length=LENGTH):
    return torch.full((length, length), -torch.inf).triu(1)


def test_blocks_are_exchanged_in_place_and_weights_keep_their_names(transformers):
    usual, ours = transformers
    assert {type(block) for block in ours.resblocks} == {CausalBlock}
    assert {type(b.attn) for b in ours.resblocks} == {CausalSelfAttention}
    assert ours.state_dict().keys() == usual.state_dict().keys()


def test_output_and_gradient_are_those_of_open_clip_with_a_mask(transformers):
    results = []
    for transformer, own in zip(transformers, (False, True), strict=True):
        x = torch.randn(3, LENGTH, WIDTH, generator=torch.Generator().manual_seed(1))
        x.requires_grad_()
        block = transformer.resblocks[0]
        y = block(x)[0] if own else block(x, attn_mask=mask())
        y.square().sum().backward()
        results.append((y.detach(), x.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


def test_one_token_of_each_sequence_is_that_of_all(transformers):
    _, ours = transformers
    x, index = torch.randn(3, LENGTH, WIDTH), torch.tensor([6, 0, 3])
    every, keys_values = ours.resblocks[0](x)
    one, same = ours.resblocks[0](x, index=index)
    torch.testing.assert_close(one[:, 0], every[torch.arange(3), index])
    torch.testing.assert_close(keys_values, same)


@pytest.mark.parametrize("index", [None, torch.tensor([3, 0, 2])])
def test_tokens_that_come_first_everywhere_are_seen_through_keys_and_values(
    transformers, index
):
    _, ours = transformers
    block = ours.resblocks[1]
    shared, rest = torch.randn(1, 3, WIDTH), torch.randn(3, 4, WIDTH)
    whole, _ = block(torch.cat([shared.expand(3, -1, -1), rest], dim=1))
    first, past_key_values = block(shared)
    torch.testing.assert_close(first.expand(3, -1, -1), whole[:, :3])
    found, _ = block(rest, past_key_values, index)
    if index is None:
        torch.testing.assert_close(found, whole[:, 3:])
    else:
        torch.testing.assert_close(found[:, 0], whole[torch.arange(3), 3 + index])


def test_blocks_of_other_kinds_leave_the_whole_tower_as_it_is():
    mixed = Transformer(WIDTH, layers=2, heads=4)
    mixed.resblocks[1].attn = nn.MultiheadAttention(
        WIDTH, 4, bias=False, batch_first=True
    )
    assert is_plain_block(mixed.resblocks[0])
    assert not make_causal(mixed)
    assert {type(block) for block in mixed.resblocks} == {ResidualAttentionBlock}
    assert not make_causal(nn.Sequential(ResidualAttentionBlock(WIDTH, 4)))


def test_blocks_with_more_than_self_attention_are_not_plain():
    cross = ResidualAttentionBlock(32, 2, is_cross_attention=True)
    last = ResidualAttentionBlock(32, 2, batch_first=False)
    assert is_plain_block(ResidualAttentionBlock(32, 2))
    assert not is_plain_block(cross)
    assert not is_plain_block(last)
    assert not is_plain_block(nn.TransformerEncoderLayer(32, 2))
