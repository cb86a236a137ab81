"""Image towers that give a feature at every place beside the pooled one."""

import torch
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ..image_features import ImageFeatures, at_every_place
from .causal_block import split_heads
from .class_token import ClassTokenBlock, spare_training_work


def give_features(visual: nn.Module) -> None:
    """Have an open_clip image tower return :class:`ImageFeatures`.

    Layer classes are exchanged in place; weights and their names stay. The pooled
    feature equals open_clip's up to rounding.

    Args:
        visual: open_clip image tower, adapters included.

    Raises:
        ValueError: The tower has no places, or a pooling that is not known here.
    """
    spare_training_work(visual)
    if type(visual) is ModifiedResNet:
        _attention_pool(visual).__class__ = ValuePool
        visual.__class__ = ResNetWithMap
    elif _reads_only_a_class_token(visual):
        last = visual.transformer.resblocks[-1]
        last.__class__ = ResidualAttentionBlock
        last.attn.__class__ = ClassTokenAttention
        visual.__class__ = ViTWithMap
    elif _is_timm_vit(visual):
        visual.trunk.blocks[-1].attn.__class__ = TimmClassTokenAttention
        visual.__class__ = TimmViTWithMap
    elif _is_timm_cnn(visual):
        visual.__class__ = TimmCNNWithMap
    else:
        raise ValueError(
            "No feature at every place is known of the image tower "
            f"{type(getattr(visual, 'trunk', visual)).__name__}: local pooling and "
            "out_type='features' take CNNs of timm's with pooling 'avg', open_clip's "
            "ResNets, and ViTs of open_clip's or timm's that read their class token. "
            "Use another CLIP, or pooling=None and out_type='pooled'."
        )


class ViTWithMap(VisionTransformer):
    """open_clip's ViT, with values in place of attention in the last block.

    Source: MaskCLIP (Zhou et al., ECCV 2022). The last block mixes no patch with
    others: attention gives each patch its own value. What is behind it (residuals,
    MLP, adapters, norm, projection) is applied to each patch as to the class token.
    """

    def forward(self, x: Tensor) -> ImageFeatures:
        """Encode images (B, 3, H, W)."""
        tokens = self.ln_post(self.transformer(self._embeds(x)))
        tower, places = tokens[:, 0], _as_map(tokens[:, 1:], *self.grid_size)
        return ImageFeatures(places, tower, places, tower).project(
            lambda features: features @ self.proj
        )


class ClassTokenAttention(nn.MultiheadAttention):
    """Self-attention of a ViT's last block, for the class token alone.

    The other tokens get their own values, through the same output projection.
    """

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, **kwargs
    ) -> tuple[Tensor, None]:
        """Map tokens (B, L, width), given three times, to tokens (B, L, width)."""
        weight, bias, width = self.in_proj_weight, self.in_proj_bias, self.embed_dim
        q = F.linear(query[:, :1], weight[:width], bias[:width])
        k, v = F.linear(query, weight[width:], bias[width:]).chunk(2, dim=-1)
        return self.out_proj(_mixed_and_values(q, k, v, self.num_heads)), None


class TimmViTWithMap(TimmModel):
    """timm's ViT, with values in place of attention; see :class:`ViTWithMap`."""

    def forward(self, x: Tensor) -> ImageFeatures:
        """Encode images (B, 3, H, W)."""
        trunk = self.trunk
        tokens = trunk.forward_features(x)
        patches = trunk.fc_norm(tokens[:, trunk.num_prefix_tokens :])
        patch_height, patch_width = trunk.patch_embed.patch_size
        size = x.shape[-2] // patch_height, x.shape[-1] // patch_width
        places = _as_map(patches, *size)
        tower = trunk.forward_head(tokens, pre_logits=True)
        return ImageFeatures(places, tower, places, tower).project(_projection(self))


class TimmClassTokenAttention(nn.Module):
    """The same as :class:`ClassTokenAttention` on the layers of timm's ``Attention``.

    Tokens that timm puts beside the class token (registers) get their values too:
    nothing reads them.
    """

    def forward(self, x: Tensor, **kwargs) -> Tensor:
        """Map tokens (B, L, width) to tokens (B, L, width)."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        mixed = _mixed_and_values(
            q[:, :1], k, v, self.num_heads, norms=(self.q_norm, self.k_norm)
        )
        return self.proj(getattr(self, "norm", nn.Identity())(mixed))


class ResNetWithMap(ModifiedResNet):
    """open_clip's ResNet, with the values that its attention pooling mixes.

    The tower's own space is that of the values, ahead of the output projection.
    """

    def forward(self, x: Tensor) -> ImageFeatures:
        """Encode images (B, 3, H, W)."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        values, joint = _attention_pool(self)(x)
        joint = getattr(self.attnpool, "scale_shift", nn.Identity())(joint)
        size = x.shape[-2:]
        return ImageFeatures(
            tower_map=_as_map(values[:, 1:], *size),
            tower=values[:, 0],
            map=_as_map(joint[:, 1:], *size),
            pooled=joint[:, 0],
        )


class ValuePool(AttentionPool2d):
    """Attention pooling that gives the value at every place too."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pool maps.

        Args:
            x: (B, w, H, W).

        Returns:
            Tokens (B, 1 + H W, w), the pooled value and the values at the places; and
            their projections, (B, 1 + H W, d).
        """
        places = x.flatten(2).transpose(1, 2)  # (B, H W, w)
        tokens = torch.cat([places.mean(1, keepdim=True), places], dim=1)
        tokens = tokens + self.positional_embedding.to(x.dtype)
        q = self.q_proj(tokens[:, :1])
        k, v = self.k_proj(tokens), self.v_proj(tokens)
        values = _mixed_and_values(q, k, v, self.num_heads)
        return values, self.c_proj(values)


class TimmCNNWithMap(TimmModel):
    """A CNN of timm's, whose pooling and projection are applied to each place too."""

    def forward(self, x: Tensor) -> ImageFeatures:
        """Encode images (B, 3, H, W)."""
        trunk = self.trunk
        places = trunk.forward_features(x)  # (B, channels, H, W)
        tower = trunk.forward_head(places, pre_logits=True)

        def head(vectors: Tensor) -> Tensor:
            """What stands behind pooling, on images of one place."""
            pixels = vectors.flatten(0, -2)[:, :, None, None]
            out = trunk.forward_head(pixels, pre_logits=True)
            return out.unflatten(0, vectors.shape[:-1])

        places = at_every_place(head, places)
        return ImageFeatures(places, tower, places, tower).project(_projection(self))


def _mixed_and_values(
    q: Tensor, k: Tensor, v: Tensor, num_heads: int, norms: tuple = ()
) -> Tensor:
    """What the first token attends to, and the other tokens' own values.

    Args:
        q: Query of the first token, (B, 1, width).
        k: Keys, (B, L, width).
        v: Values, (B, L, width).
        num_heads: Number of heads.
        norms: Norms of queries and of keys, on each head.

    Returns:
        Tokens, (B, L, width).
    """
    heads = [split_heads(each, num_heads) for each in (q, k, v)]
    for index, norm in enumerate(norms):
        heads[index] = norm(heads[index])
    mixed = F.scaled_dot_product_attention(*heads)  # (B, heads, 1, head width)
    return torch.cat([mixed.transpose(1, 2).flatten(2), v[:, 1:]], dim=1)


def _as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """Put patches, (B, H W, w), where they are in the image, (B, w, H, W)."""
    return tokens.transpose(1, 2).unflatten(2, (height, width))


def _projection(visual: TimmModel) -> nn.Sequential:
    """From a timm trunk's pooled feature to the joint space."""
    return nn.Sequential(visual.trunk.get_classifier(), visual.head)


def _attention_pool(visual: ModifiedResNet) -> AttentionPool2d:
    """Attention pooling, which ScaleShift may have put something behind."""
    return getattr(visual.attnpool, "pool", visual.attnpool)


def _reads_only_a_class_token(visual: nn.Module) -> bool:
    if type(visual) is not VisionTransformer:
        return False
    return type(visual.transformer.resblocks[-1]) is ClassTokenBlock


def _is_timm_vit(visual: nn.Module) -> bool:
    """Whether it is timm's plain ViT with plain attention, pooled by class token."""
    trunk = getattr(visual, "trunk", None)
    if type(trunk).__name__ != "VisionTransformer":
        return False
    attention = trunk.blocks[-1].attn
    return (
        trunk.global_pool == "token"
        and type(attention).__name__ == "Attention"
        and getattr(attention, "gate", None) is None
    )


def _is_timm_cnn(visual: nn.Module) -> bool:
    """Whether a timm trunk ends in a map that the trunk's own head pools."""
    trunk = getattr(visual, "trunk", None)
    return (
        type(visual) is TimmModel
        and bool(trunk.default_cfg.get("pool_size"))
        and getattr(trunk, "output_fmt", "NCHW") == "NCHW"
        and "pool" not in visual.head._modules
    )
