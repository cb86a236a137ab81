"""LoRA in the image tower, with MMPretrain's layer."""

import re
from collections.abc import Sequence

import torch
from mmpretrain.models.peft.lora import LoRALinear
from mmpretrain.registry import MODELS
from torch import nn

from .base import Adapter, tower_name


@MODELS.register_module()
class LoRA(Adapter):
    """Replace linear layers of the tower by :class:`LoRALinear`.

    Source: Hu et al., ICLR 2022, as MMPretrain has it.

    Args:
        rank (int): r. Defaults to 4.
        alpha (int): Scale, applied as alpha / rank. Defaults to 4.
        drop_rate (float): Dropout before the low-rank path. Defaults to 0.
        targets (Sequence[str]): Regular expressions that the whole name of a
            linear layer in the tower must match. Defaults to both layers of
            every MLP (open_clip's and timm's names).

    Raises:
        ValueError: If no linear layer matches, or one belongs to
            ``nn.MultiheadAttention``, which reads weights without calling it.
    """

    def __init__(
        self,
        rank: int = 4,
        alpha: int = 4,
        drop_rate: float = 0.0,
        targets: Sequence[str] = (r".*\.mlp\.(c_fc|c_proj|fc1|fc2)",),
    ) -> None:
        self.rank = rank
        self.alpha = alpha
        self.drop_rate = drop_rate
        self.targets = tuple(targets)

    def attach(self, visual: nn.Module, num_classes: int | None) -> list[nn.Module]:
        """See :meth:`Adapter.attach`."""
        names = [
            name
            for name, module in visual.named_modules()
            if isinstance(module, nn.Linear)
            and any(re.fullmatch(target, name) for target in self.targets)
        ]
        if not names:
            raise ValueError(
                f"No linear layer of {tower_name(visual)} matches LoRA's targets "
                f"{self.targets}."
            )
        return [self._replace(visual, name) for name in names]

    @torch.no_grad()
    def merge(self, visual: nn.Module) -> None:
        """Add the low-rank product to each layer: W + (alpha / rank) B A."""
        for name, layer in list(visual.named_modules()):
            if isinstance(layer, LoRALinear):
                product = layer.lora_up.weight @ layer.lora_down.weight
                layer.original_layer.weight += layer.scaling * product
                parent, _, child = name.rpartition(".")
                setattr(visual.get_submodule(parent), child, layer.original_layer)

    def _replace(self, visual: nn.Module, name: str) -> LoRALinear:
        parent_name, _, child_name = name.rpartition(".")
        parent = visual.get_submodule(parent_name)
        if isinstance(parent, nn.MultiheadAttention):
            raise ValueError(
                f"LoRA cannot stand in for {name}: nn.MultiheadAttention reads its "
                "weight without calling it. Leave attention out of targets."
            )
        layer = LoRALinear(
            getattr(parent, child_name), self.alpha, self.rank, self.drop_rate
        )
        setattr(parent, child_name, layer)
        return layer
