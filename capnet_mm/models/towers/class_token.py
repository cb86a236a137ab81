"""open_clip's ViT in training: the same features and gradients for less work."""

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from .causal_block import is_plain_block, split_heads


def spare_training_work(visual: nn.Module) -> None:
    """Have a ViT compute only what its pooled feature needs, where gradients flow.

    Layer classes are exchanged in place; weights and their names stay. Without
    gradient the tower runs open_clip's own code, so that its features are
    open_clip's to the last bit; with it they equal up to rounding. A tower that is no
    open_clip ViT of standard blocks is left as it is.

    Args:
        visual: open_clip image tower, adapters included.
    """
    if type(visual) is not VisionTransformer:
        return
    blocks = visual.transformer.resblocks
    plain_blocks = [block for block in blocks if is_plain_block(block)]
    for block in plain_blocks:
        block.attn.__class__ = PackedSelfAttention
    only_class_token_is_read = (
        visual.attn_pool is None
        and visual.pool_type == "tok"
        and not visual.output_tokens
    )
    if only_class_token_is_read and blocks[-1] in plain_blocks:
        blocks[-1].__class__ = ClassTokenBlock


class PackedSelfAttention(nn.MultiheadAttention):
    """Self-attention that keeps its tokens where they are.

    PyTorch's layer, batch first, puts the tokens' axis in front of the batch's and
    back, and splits queries, keys and values by copying them.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        **kwargs,
    ) -> tuple[Tensor, Tensor | None]:
        """See :class:`torch.nn.MultiheadAttention`."""
        packed = (
            torch.is_grad_enabled()
            and key is value
            and key_padding_mask is None
            and attn_mask is None
            and not need_weights
            and not (self.training and self.dropout)
            and query.ndim == 3
        )
        if not packed:
            masks = dict(key_padding_mask=key_padding_mask, attn_mask=attn_mask)
            kwargs.update(masks, need_weights=need_weights)
            return super().forward(query, key, value, **kwargs)
        weight, bias, width = self.in_proj_weight, self.in_proj_bias, self.embed_dim
        if query is key:
            qkv = F.linear(query, weight, bias).chunk(3, dim=-1)
        else:
            q = F.linear(query, weight[:width], bias[:width])
            qkv = q, *F.linear(key, weight[width:], bias[width:]).chunk(2, dim=-1)
        q, k, v = (split_heads(t, self.num_heads) for t in qkv)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, L, head width)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), None


class ClassTokenBlock(ResidualAttentionBlock):
    """A ViT's last block, for the class token alone: the others are not read.

    Their keys and values are computed, not their queries, nor what follows.
    """

    def forward(
        self,
        q_x: Tensor,
        k_x: Tensor | None = None,
        v_x: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        """Map tokens (B, L, width) to the class token (B, 1, width) in training."""
        if not torch.is_grad_enabled():
            return super().forward(q_x, k_x, v_x, attn_mask)
        normed = self.ln_1(q_x)
        mixed, _ = self.attn(normed[:, :1], normed, normed, need_weights=False)
        x = q_x[:, :1] + self.ls_1(mixed)
        return x + self.ls_2(self.mlp(self.ln_2(x)))
