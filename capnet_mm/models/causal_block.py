"""open_clip's residual attention block, computed only as far as it is needed."""

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F

KeysAndValues = tuple[Tensor, Tensor]


def is_plain_block(block: nn.Module) -> bool:
    """Whether the functions of this file compute what a block's forward does.

    True for open_clip's own ``ResidualAttentionBlock`` with self-attention by
    PyTorch's ``nn.MultiheadAttention``, whatever its norms, activation and layer
    scales; not for subclasses, for open_clip's custom blocks or for timm's.
    """
    attention = getattr(block, "attn", None)
    return (
        type(block) is ResidualAttentionBlock
        and type(attention) is nn.MultiheadAttention
        and attention.batch_first
        and attention.in_proj_weight is not None  # one width for q, k and v
        and attention.in_proj_bias is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
        and not hasattr(block, "ln_1_kv")  # cross-attention
    )


def causal_block(
    block: nn.Module, x: Tensor, before: KeysAndValues | None = None
) -> tuple[Tensor, KeysAndValues]:
    """Apply a block with a causal mask: no token sees what follows it.

    Args:
        block: A plain block in eval mode, see :func:`is_plain_block`.
        x: Tokens, (B, L, width).
        before: Keys and values in this block of P tokens that stand before every
            sequence, (1, heads, P, head width) each. None: there are none.

    Returns:
        Tokens, (B, L, width), and their own keys and values.
    """
    attention = block.attn
    qkv = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = (split_heads(t, attention.num_heads) for t in qkv.chunk(3, dim=-1))
    if before is None:
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:
        all_k, all_v = _join(before, k, v)
        shape = q.shape[2], all_k.shape[2]
        visible = torch.ones(shape, dtype=torch.bool, device=x.device)
        visible = visible.tril(shape[1] - shape[0])
        mixed = F.scaled_dot_product_attention(q, all_k, all_v, attn_mask=visible)
    return _finish(block, x, mixed), (k, v)


def block_at(
    block: nn.Module, x: Tensor, index: Tensor, before: KeysAndValues | None = None
) -> Tensor:
    """Output of a causal block at one token of each sequence.

    Keys and values come from every token up to it; its query, the projection
    behind attention and the MLP are computed for that token alone.

    Args:
        block: A plain block in eval mode, see :func:`is_plain_block`.
        x: Tokens, (B, L, width).
        index: Which token of each sequence, (B,).
        before: See :func:`causal_block`.

    Returns:
        That token's output, (B, width).
    """
    width = x.shape[-1]
    normed = block.ln_1(x)
    sequences = torch.arange(len(x), device=x.device)
    weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
    q = F.linear(normed[sequences, index][:, None], weight[:width], bias[:width])
    q = split_heads(q, block.attn.num_heads)  # (B, heads, 1, head width)
    k, v = _keys_and_values(block, normed)
    visible = torch.arange(x.shape[1], device=x.device) <= index[:, None]  # (B, L)
    if before is not None:
        k, v = _join(before, k, v)
        visible = F.pad(visible, (before[0].shape[2], 0), value=True)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None, None])
    return _finish(block, x[sequences, index][:, None], mixed)[:, 0]


def keys_and_values(block: nn.Module, x: Tensor) -> KeysAndValues:
    """What later tokens see of tokens in a block: (B, heads, L, head width) each."""
    return _keys_and_values(block, block.ln_1(x))


def _keys_and_values(block: nn.Module, normed: Tensor) -> KeysAndValues:
    width = normed.shape[-1]
    weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
    k, v = F.linear(normed, weight[width:], bias[width:]).chunk(2, dim=-1)
    return tuple(split_heads(t, block.attn.num_heads) for t in (k, v))


def _join(before: KeysAndValues, k: Tensor, v: Tensor) -> KeysAndValues:
    """Put the keys and values of all sequences behind those before them."""
    k_before, v_before = (t.expand(len(k), -1, -1, -1) for t in before)
    return torch.cat([k_before, k], dim=2), torch.cat([v_before, v], dim=2)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Turn tokens, (B, L, width), into (B, heads, L, head width)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _finish(block: nn.Module, x: Tensor, mixed: Tensor) -> Tensor:
    """All that follows attention; ``mixed`` is (B, heads, L, head width)."""
    x = x + block.ls_1(block.attn.out_proj(mixed.transpose(1, 2).flatten(2)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))
