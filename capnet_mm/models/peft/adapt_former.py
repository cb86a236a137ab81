"""AdaptFormer: a bottleneck parallel to the MLP of every ViT block."""

import math

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from .base import Adapter, tower_name, transformer_blocks


class AdaptFormerLayer(BaseModule):
    r""":math:`s \cdot \mathrm{Up}(\mathrm{ReLU}(\mathrm{Down}(\mathrm{LN}(x))))`.

    Up and both biases start at zero, so the layer starts as 0.

    Args:
        dim (int): Token width.
        bottleneck_dim (int): r.
    """

    def __init__(self, dim: int, bottleneck_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.down = nn.Linear(dim, bottleneck_dim)
        self.up = nn.Linear(bottleneck_dim, dim)
        self.scale = nn.Parameter(torch.ones(1))
        nn.init.kaiming_normal_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, L, dim) to their correction (B, L, dim)."""
        hidden = F.relu(self.down(self.norm(x)))
        if type(self.up) is not nn.Linear:  # a quantised layer shows no weights
            return self.scale * self.up(hidden)
        # s goes to Up's few weights; beside the tokens it would cost as much memory
        # as they do, and make float32 of them under autocast.
        return F.linear(hidden, self.scale * self.up.weight, self.scale * self.up.bias)


class ParallelBranch(nn.Module):
    """Sum of a frozen branch and the adapter beside it."""

    def __init__(self, branch: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.adapter = adapter

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, L, dim) to the sum, (B, L, dim)."""
        return self.branch(x) + self.adapter(x)


@MODELS.register_module()
class AdaptFormer(Adapter):
    """Put an :class:`AdaptFormerLayer` beside the MLP of every ViT block.

    ``x = x + MLP(LN2(x)) + s * Up(ReLU(Down(LN_a(x))))``

    Source: AdaptFormer (Chen et al., NeurIPS 2022) in the definition of LIFT
    (Shi et al., ICML 2024).

    Args:
        bottleneck_dim (int, optional): r. Defaults to None: LIFT's rule
            ``2 ** max(0, int(log2(C / (2 * layers))))``.

    Raises:
        ValueError: For a tower without transformer blocks, or when neither
            ``bottleneck_dim`` nor the number of classes is known.
    """

    def __init__(self, bottleneck_dim: int | None = None) -> None:
        if bottleneck_dim is not None and bottleneck_dim < 1:
            raise ValueError(f"bottleneck_dim must be >= 1, got {bottleneck_dim}.")
        self.bottleneck_dim = bottleneck_dim

    def attach(self, visual: nn.Module, num_classes: int | None) -> list[nn.Module]:
        """See :meth:`Adapter.attach`."""
        blocks = transformer_blocks(visual)
        if blocks is None:
            raise ValueError(
                "AdaptFormer stands beside the MLP of transformer blocks; this "
                f"image tower ({tower_name(visual)}) is a CNN and has none. Use "
                "adapter=[dict(type='ScaleShift'), dict(type='BiasTuning')] or "
                "adapter='auto'."
            )
        bottleneck_dim = self.bottleneck_dim or self._default_dim(
            num_classes, len(blocks)
        )
        return [_insert(block, bottleneck_dim) for block in blocks]

    @staticmethod
    def _default_dim(num_classes: int | None, num_layers: int) -> int:
        if num_classes is None:
            raise ValueError(
                "AdaptFormer's bottleneck depends on the number of classes: set "
                "bottleneck_dim in the adapter or num_classes in CLIPBackbone."
            )
        return 2 ** max(0, int(math.log2(num_classes / (2 * num_layers))))


def _insert(block: nn.Module, bottleneck_dim: int) -> AdaptFormerLayer:
    """Turn a block's ``x + ls(mlp(norm(x)))`` into that plus the adapter.

    The block's own forward is untouched: its MLP becomes the sum of two
    branches, one of which holds the old norm, MLP and layer scale.
    """
    names = (
        ("ln_2", "mlp", "ls_2") if hasattr(block, "ln_2") else ("norm2", "mlp", "ls2")
    )
    norm, mlp, layer_scale = (getattr(block, name, None) for name in names)
    if norm is None or mlp is None or layer_scale is None:
        raise ValueError(
            f"AdaptFormer knows the blocks of open_clip's and timm's "
            f"VisionTransformer, not {type(block).__name__}. Use adapter="
            "dict(type='BiasTuning') or register an adapter for it."
        )
    adapter = AdaptFormerLayer(norm.normalized_shape[-1], bottleneck_dim)
    branch = nn.Sequential(norm, mlp, layer_scale)
    setattr(block, names[0], nn.Identity())
    setattr(block, names[1], ParallelBranch(branch, adapter))
    setattr(block, names[2], nn.Identity())
    return adapter
