"""open_clip's residual attention block, causal and only as far as it is needed."""

import torch
from open_clip.transformer import ResidualAttentionBlock, Transformer
from torch import Tensor, nn
from torch.nn import functional as F

KeysAndValues = tuple[Tensor, Tensor]


def make_causal(transformer: nn.Module) -> bool:
    """Have the blocks of a text tower be :class:`CausalBlock`, if all are plain.

    Layer classes are exchanged in place; weights and their names stay.

    Args:
        transformer: open_clip's ``Transformer``, in eval mode.

    Returns:
        Whether the blocks are causal now; a tower of any other blocks is left as it
        is.
    """
    if type(transformer) is not Transformer or not all(
        is_plain_block(block) for block in transformer.resblocks
    ):
        return False
    for block in transformer.resblocks:
        block.__class__ = CausalBlock
        block.attn.__class__ = CausalSelfAttention
    return True


def is_plain_block(block: nn.Module) -> bool:
    """Whether the classes of this package compute what a block's forward does.

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


class CausalBlock(ResidualAttentionBlock):
    """A block in which no token sees what follows it.

    It is called as any module is, so that hooks and wrappers of single blocks
    (FSDP, activation checkpoints) work.
    """

    def forward(
        self,
        x: Tensor,
        past_key_values: KeysAndValues | None = None,
        index: Tensor | None = None,
    ) -> tuple[Tensor, KeysAndValues]:
        """Apply the block.

        Args:
            x: Tokens, (B, L, width).
            past_key_values: Keys and values in this block of P tokens that stand
                before every sequence, (1, heads, P, head width) each. None: there are
                none.
            index: The one token of each sequence whose output is wanted, (B,). Keys
                and values are computed for every token, all else for that one alone.
                None: the output of every token.

        Returns:
            Output, (B, L, width) or with ``index`` (B, 1, width); and the keys and
            values of x, (B, heads, L, head width) each.
        """
        mixed, keys_values = self.attn(self.ln_1(x), past_key_values, index)
        if index is not None:
            x = _tokens_at(x, index)
        x = x + self.ls_1(mixed)
        return x + self.ls_2(self.mlp(self.ln_2(x))), keys_values


class CausalSelfAttention(nn.MultiheadAttention):
    """Self-attention in which no token sees what follows it."""

    def forward(
        self,
        x: Tensor,
        past_key_values: KeysAndValues | None = None,
        index: Tensor | None = None,
    ) -> tuple[Tensor, KeysAndValues]:
        """See :meth:`CausalBlock.forward`; x is normalised there."""
        weight, bias, width = self.in_proj_weight, self.in_proj_bias, self.embed_dim
        if index is None:
            qkv = F.linear(x, weight, bias).chunk(3, dim=-1)
        else:
            q = F.linear(_tokens_at(x, index), weight[:width], bias[:width])
            qkv = q, *F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
        q, *keys_values = (split_heads(t, self.num_heads) for t in qkv)
        if past_key_values is None and index is None:
            mixed = F.scaled_dot_product_attention(q, *keys_values, is_causal=True)
        else:
            k, v = (
                keys_values
                if past_key_values is None
                else _join(past_key_values, *keys_values)
            )
            visible = _visible(x.shape[1], k.shape[2], index, x.device)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        # mixed: (B, heads, L, head width)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), tuple(keys_values)


def _tokens_at(x: Tensor, index: Tensor) -> Tensor:
    """One token of each sequence, (B, 1, width)."""
    return x[torch.arange(len(x), device=x.device), index][:, None]


def _join(past_key_values: KeysAndValues, k: Tensor, v: Tensor) -> KeysAndValues:
    """Put the keys and values of all sequences behind those before them."""
    past_k, past_v = (t.expand(len(k), -1, -1, -1) for t in past_key_values)
    return torch.cat([past_k, k], dim=2), torch.cat([past_v, v], dim=2)


def _visible(
    length: int, num_keys: int, index: Tensor | None, device: torch.device
) -> Tensor:
    """Which of P + L keys a query sees, the P before all sequences included.

    Returns:
        (L, P + L), or with ``index`` (B, 1, 1, P + L).
    """
    positions = torch.arange(length, device=device)
    queries = positions[:, None] if index is None else index[:, None, None, None]
    return F.pad(positions <= queries, (num_keys - length, 0), value=True)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Turn tokens, (B, L, width), into (B, heads, L, head width)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)
