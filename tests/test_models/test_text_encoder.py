import copy

import open_clip
import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock, TextTransformer
from torch import nn

from capnet_mm.models import CLIPTextEncoder
from capnet_mm.models.text_encoder import _run_causal, _run_open_clip
from capnet_mm.models.towers.batching import length_buckets
from capnet_mm.models.towers.causal_block import (
    CausalBlock,
    is_plain_block,
    make_causal,
)

TEXTS = ["a photo of a dog.", "a dining table with four chairs around it.", "tv"]


def test_cut_sequences_give_open_clips_features_of_77_tokens(tiny_clip):
    encoder = CLIPTextEncoder(tiny_clip)
    clip = open_clip.create_model(tiny_clip).eval()
    ids, _ = encoder.tokenize(TEXTS)
    assert ids.shape[1] < 20
    with torch.no_grad():
        expected = clip.encode_text(open_clip.get_tokenizer(tiny_clip)(TEXTS))
    torch.testing.assert_close(encoder.encode_text(TEXTS), expected)


def test_real_clip_has_open_clips_text_features(shared_dir):
    model = f"local-dir:{shared_dir / 'models' / 'pocket_clip'}"
    clip = open_clip.create_model(model).eval()
    with torch.no_grad():
        expected = clip.encode_text(open_clip.get_tokenizer(model)(TEXTS))
    difference = CLIPTextEncoder(model).encode_text(TEXTS) - expected
    assert difference.abs().max() < 1e-5


def test_text_longer_than_the_context_is_named(tiny_clip):
    encoder = CLIPTextEncoder(tiny_clip)
    with pytest.raises(ValueError, match="80 tokens; this CLIP takes 75"):
        encoder.encode_text(["dog " * 80])


def test_encoder_is_frozen_and_stays_in_eval_mode(tiny_clip):
    encoder = CLIPTextEncoder(tiny_clip).train()
    assert not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())


def test_towers_that_are_not_causal_are_refused():
    with pytest.raises(ValueError, match="not a causal transformer"):
        CLIPTextEncoder("coca_ViT-B-32")


EOS_INDEX = torch.tensor([6, 3, 9, 6, 4, 9, 3, 5])


def features_and_gradient(encode, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(8, 10, 32, generator=generator).requires_grad_()
    features = encode(embeddings)
    weight = torch.randn(features.shape, generator=generator)
    (features * weight).sum().backward()
    return features.detach(), embeddings.grad


def of_open_clip(transformer):
    """The same weights in layers of open_clip's own classes."""
    transformer = copy.deepcopy(transformer)
    for block in transformer.resblocks:
        if type(block) is CausalBlock:
            block.__class__ = ResidualAttentionBlock
            block.attn.__class__ = nn.MultiheadAttention
    return transformer


def of_77_tokens(encoder, embeddings):
    """open_clip's own forward on padded sequences, from its parts."""
    rest = torch.ones(len(embeddings), 77 - embeddings.shape[1], encoder.width)
    x = torch.cat([embeddings, rest], dim=1) + encoder.positional_embedding
    x = of_open_clip(encoder.transformer)(x, attn_mask=encoder.attn_mask)
    x = encoder.ln_final(x)[torch.arange(len(x)), EOS_INDEX]
    return x @ encoder.text_projection


def assert_same_as_77_tokens(encoder, num_shared=0):
    def with_start(x):  # all rows start as the first one does
        start = x[:1, :num_shared].expand(len(x), -1, -1)
        return torch.cat([start, x[:, num_shared:]], dim=1)

    result = features_and_gradient(
        lambda x: encoder(with_start(x), EOS_INDEX, num_shared)
    )
    expected = features_and_gradient(lambda x: of_77_tokens(encoder, with_start(x)))
    for ours, theirs in zip(result, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert expected[1].abs().max() > 0.1


@pytest.mark.parametrize("overhead", [0, 32, 1000])
@pytest.mark.parametrize("chunk_size", [None, 3, 512])
@pytest.mark.parametrize("num_shared", [0, 1, 3])
def test_features_and_gradient_are_those_of_77_tokens(
    tiny_clip, monkeypatch, overhead, chunk_size, num_shared
):
    """However sequences are sorted into buckets and chunks, and start alike."""
    monkeypatch.setattr("capnet_mm.models.towers.batching._OVERHEAD_CPU", overhead)
    encoder = CLIPTextEncoder(tiny_clip, chunk_size=chunk_size)
    assert encoder._run is _run_causal
    assert_same_as_77_tokens(encoder, num_shared)


def with_custom_blocks(encoder):
    tower = TextTransformer(width=32, heads=2, layers=2, scale_attn=True)
    encoder.transformer = tower.transformer


def with_other_width_of_keys(encoder):
    encoder.transformer = of_open_clip(encoder.transformer)
    for block in encoder.transformer.resblocks:
        block.attn = nn.MultiheadAttention(32, 2, bias=False, batch_first=True)


@pytest.mark.parametrize("change", [with_custom_blocks, with_other_width_of_keys])
def test_other_blocks_are_left_to_open_clip(tiny_clip, change):
    encoder = CLIPTextEncoder(tiny_clip)
    torch.manual_seed(0)
    change(encoder)
    encoder._choose_run()
    assert encoder._run is _run_open_clip
    assert_same_as_77_tokens(encoder.requires_grad_(False).eval())
    assert_same_as_77_tokens(encoder, num_shared=2)


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("act_layer", [nn.GELU, open_clip.transformer.QuickGELU])
@pytest.mark.parametrize("layer_scale", [None, 0.3])
def test_standard_blocks_of_every_make_are_followed(
    tiny_clip, norm, act_layer, layer_scale
):
    torch.manual_seed(0)
    encoder = CLIPTextEncoder(tiny_clip)
    blocks = [
        ResidualAttentionBlock(
            32, 2, ls_init_value=layer_scale, act_layer=act_layer, norm_layer=norm
        )
        for _ in range(2)
    ]
    for block in blocks:
        nn.init.normal_(block.attn.in_proj_bias)
        nn.init.normal_(block.attn.out_proj.bias)
    encoder.transformer.resblocks = nn.ModuleList(blocks)
    assert make_causal(encoder.transformer)
    assert_same_as_77_tokens(encoder.requires_grad_(False).eval())


def test_blocks_with_more_than_self_attention_are_not_plain():
    cross = ResidualAttentionBlock(32, 2, is_cross_attention=True)
    last = ResidualAttentionBlock(32, 2, batch_first=False)
    assert is_plain_block(ResidualAttentionBlock(32, 2))
    assert not is_plain_block(cross)
    assert not is_plain_block(last)
    assert not is_plain_block(nn.TransformerEncoderLayer(32, 2))


def test_no_weight_of_the_frozen_tower_is_kept_for_the_backward_pass(tiny_clip):
    """A linear layer needs its weight for the input's gradient, not its input."""
    encoder = CLIPTextEncoder(tiny_clip)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: saved.append(tuple(t.shape)) or t, lambda t: t
    ):
        embeddings = torch.randn(8, 10, 32, requires_grad=True)
        encoder(embeddings, torch.full((8,), 9))
    # Of the MLP's hidden layer only the activation's input: once for the block that
    # is computed whole, once for the one token of the last.
    assert [s for s in saved if s[-1] == 128 and s[0] == 8] == [
        (8, 10, 128),
        (8, 1, 128),
    ]


def test_chunks_are_encoded_again_in_the_backward_pass_one_at_a_time(tiny_clip):
    encoder = CLIPTextEncoder(tiny_clip, chunk_size=2)
    sizes = []
    encoder.ln_final.register_forward_hook(lambda _, x, y: sizes.append(len(y)))
    embeddings = torch.randn(8, 10, 32, requires_grad=True)
    features = encoder(embeddings, torch.full((8,), 9))
    assert sizes == [2, 2, 2, 2]
    features.sum().backward()
    assert sizes == [2] * 8
    with torch.no_grad():
        encoder(embeddings, torch.full((8,), 9))
    assert sizes == [2] * 12


@pytest.mark.parametrize("num_shared", [0, 2])
def test_half_precision_is_used_where_open_clip_uses_it(tiny_clip, num_shared):
    encoder = CLIPTextEncoder(tiny_clip)
    embeddings = torch.randn(8, 10, 32, generator=torch.Generator().manual_seed(0))
    embeddings[:, :2] = embeddings[0, :2]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        ours = encoder(embeddings, EOS_INDEX, num_shared)
        theirs = of_77_tokens(encoder, embeddings)
    exact = of_77_tokens(encoder, embeddings).detach()
    assert ours.dtype == theirs.dtype == torch.bfloat16
    error = (theirs - exact).abs().max()
    assert 0 < (ours - exact).abs().max() < 2 * error


def test_blocks_are_called_so_that_hooks_and_wrappers_of_them_work(tiny_clip):
    encoder = CLIPTextEncoder(tiny_clip)
    calls = []
    for name, module in encoder.transformer.named_modules():
        if name.startswith("resblocks.") and name.count(".") < 3:
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    embeddings = torch.randn(8, 10, 32)
    encoder(embeddings, torch.full((8,), 9))
    for i in range(2):
        assert calls.count(f"resblocks.{i}") == 1
        assert calls.count(f"resblocks.{i}.attn") == 1
    encoder(embeddings, torch.full((8,), 9), num_shared=1)
    for i in range(2):
        assert calls.count(f"resblocks.{i}") == 3  # the shared tokens, then the rest


def test_tokens_that_all_sequences_start_with_are_encoded_once(tiny_clip):
    encoder = CLIPTextEncoder(tiny_clip)
    shapes = []
    encoder.transformer.resblocks[0].mlp.register_forward_hook(
        lambda _, x, y: shapes.append(tuple(y.shape[:2]))
    )
    embeddings = torch.randn(8, 10, 32)
    embeddings[:, :7] = embeddings[0, :7]
    encoder(embeddings, torch.full((8,), 9), num_shared=7)
    assert shapes == [(1, 7), (8, 3)]


def test_buckets_have_the_fewest_tokens():
    lengths = [20] * 50 + [21] * 3 + [23] * 20 + [30]
    assert length_buckets(lengths, overhead=0) == [(50, 20), (3, 21), (20, 23), (1, 30)]
    # To pad the three costs 6 tokens, less than a bucket; all else costs more.
    assert length_buckets(lengths, overhead=32) == [(50, 20), (23, 23), (1, 30)]
    assert length_buckets(lengths, overhead=10**6) == [(74, 30)]
    assert length_buckets([5, 5, 5, 5, 5], 32, largest=2) == [(2, 5), (2, 5), (1, 5)]
    assert length_buckets([7], overhead=32) == [(1, 7)]


def test_chunk_size_below_one_is_refused(tiny_clip):
    with pytest.raises(ValueError, match="chunk_size"):
        CLIPTextEncoder(tiny_clip, chunk_size=0)
