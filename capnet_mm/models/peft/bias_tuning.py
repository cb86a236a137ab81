"""Bias tuning: train the tower's biases only."""

from mmpretrain.registry import MODELS
from torch import nn

from .base import Adapter, tower_name


@MODELS.register_module()
class BiasTuning(Adapter):
    """Unfreeze every bias of the tower, those of norm layers included.

    Running statistics of BatchNorm stay frozen.

    Source: BitFit (Ben Zaken et al., ACL 2022); for CNN towers as in LIFT (Shi
    et al., ICML 2024).
    """

    def attach(self, visual: nn.Module, num_classes: int | None) -> list[nn.Module]:
        """See :meth:`Adapter.attach`."""
        biases = [p for name, p in visual.named_parameters() if name.endswith("bias")]
        if not biases:
            raise ValueError(f"{tower_name(visual)} has no biases to tune.")
        for bias in biases:
            bias.requires_grad_(True)
        return []
