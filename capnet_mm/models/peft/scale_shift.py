"""Scale and shift of the pooled image feature (SSF)."""

from collections import OrderedDict

import torch
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .base import Adapter, tower_name


class ScaleShiftLayer(nn.Module):
    """``scale * x + shift``, the identity at start.

    Args:
        dim (int): Dimension of x's last axis.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))
        self.shift = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, dim) to (B, dim)."""
        return x * self.scale + self.shift


@MODELS.register_module()
class ScaleShift(Adapter):
    """Scale and shift the image feature after the tower's pooling.

    For ModifiedResNet after its attention pooling, (B, d); for a timm CNN
    between pooling and projection, (B, channels); for a ViT after the last norm.
    In every tower the layer is named ``scale_shift``, so that ``custom_keys`` of a
    schedule can name it.

    Source: SSF (Lian et al., NeurIPS 2022), used for CNN towers by LIFT (Shi et
    al., ICML 2024). Behind the projection: ours, so that the tower's features can be
    computed once for all.

    Args:
        space (str): ``'tower'``, as said above; or ``'joint'``: behind the projection,
            (B, d), in every tower, at every place of a map as well. Defaults to
            ``'tower'``.

    Raises:
        ValueError: ``space`` is another, or it is not known where a tower pools.
    """

    def __init__(self, space: str = "tower") -> None:
        if space not in ("tower", "joint"):
            raise ValueError(f"space must be 'tower' or 'joint', got {space!r}.")
        self.behind_projection = space == "joint"

    def attach(self, visual: nn.Module, num_classes: int | None) -> list[nn.Module]:
        """See :meth:`Adapter.attach`."""
        if self.behind_projection:
            visual.scale_shift = ScaleShiftLayer(_joint_width(visual))
            return [visual.scale_shift]
        if hasattr(visual, "attnpool"):  # ModifiedResNet
            layer = ScaleShiftLayer(visual.output_dim)
            visual.attnpool = _followed_by("pool", visual.attnpool, layer)
        elif hasattr(visual, "ln_post"):  # VisionTransformer
            layer = ScaleShiftLayer(visual.ln_post.normalized_shape[-1])
            visual.ln_post = _followed_by("norm", visual.ln_post, layer)
        elif hasattr(visual, "trunk"):  # TimmModel
            layer = _insert_before_projection(visual)
        else:
            raise ValueError(
                f"ScaleShift does not know where {tower_name(visual)} pools. "
                "Register an adapter for it."
            )
        return [layer]

    @torch.no_grad()
    def merge(self, visual: nn.Module) -> None:
        """Scale and shift by the layer before (a norm, a projection) or behind."""
        if self.behind_projection:  # a ViT's projection has no bias to shift by
            return
        if hasattr(visual, "attnpool"):
            visual.attnpool, layer = visual.attnpool.pool, visual.attnpool.scale_shift
            _merge_behind(visual.attnpool.c_proj, layer)
        elif hasattr(visual, "ln_post"):
            visual.ln_post, layer = visual.ln_post.norm, visual.ln_post.scale_shift
            _merge_behind(visual.ln_post, layer)
        else:
            layer = visual.head.scale_shift
            del visual.head.scale_shift
            linear = next(m for m in visual.head.modules() if isinstance(m, nn.Linear))
            shift = linear.weight @ layer.shift
            bias = shift if linear.bias is None else linear.bias + shift
            linear.bias = nn.Parameter(bias, requires_grad=False)
            linear.weight *= layer.scale


def _joint_width(visual: nn.Module) -> int:
    """Width d of the joint space of a tower."""
    if hasattr(visual, "output_dim"):
        return visual.output_dim
    ends = (visual.trunk.get_classifier(), visual.head)
    linear = [m for end in ends for m in end.modules() if isinstance(m, nn.Linear)]
    return linear[-1].out_features if linear else visual.trunk.num_features


def _merge_behind(module: nn.Module, layer: ScaleShiftLayer) -> None:
    """Have a linear layer or a norm give the scaled and shifted output."""
    rows = layer.scale.reshape(-1, *[1] * (module.weight.ndim - 1))
    module.weight *= rows
    module.bias.copy_(module.bias * layer.scale + layer.shift)


def _followed_by(name: str, module: nn.Module, layer: ScaleShiftLayer) -> nn.Sequential:
    return nn.Sequential(OrderedDict([(name, module), ("scale_shift", layer)]))


def _insert_before_projection(visual: nn.Module) -> ScaleShiftLayer:
    linear = [m for m in visual.head.modules() if isinstance(m, nn.Linear)]
    pools_in_head = "pool" in visual.head._modules
    if not linear or pools_in_head:
        raise ValueError(
            "ScaleShift needs a projection behind the pooling of "
            f"{tower_name(visual)}; its head has none. Use "
            "adapter=dict(type='BiasTuning')."
        )
    layer = ScaleShiftLayer(linear[0].in_features)
    visual.head = nn.Sequential(
        OrderedDict([("scale_shift", layer), *visual.head.named_children()])
    )
    return layer
