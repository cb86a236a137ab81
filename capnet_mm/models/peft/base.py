"""What every adapter does: change a frozen image tower in place."""

from abc import ABC, abstractmethod

from torch import nn


class Adapter(ABC):
    """Parameter-efficient fine-tuning of an open_clip image tower.

    Subclass, register in :data:`mmpretrain.registry.MODELS`, and name the class
    in ``CLIPBackbone(adapter=dict(type=…))``; the backbone need not change. The
    names of what it inserts should share a part that nothing else in any tower has
    (``adapter``, ``lora_``, ``scale_shift``): a schedule's ``custom_keys`` go by it.

    Attributes:
        behind_projection (bool): Whether the modules that :meth:`attach` returns map
            features (…, d) of the joint space, and ``CLIPBackbone`` is to apply them
            to what the tower gives, while the tower stays as it is. Defaults to False.
    """

    behind_projection = False

    @abstractmethod
    def attach(self, visual: nn.Module, num_classes: int | None) -> list[nn.Module]:
        """Insert trainable parts in the tower, or unfreeze some of it.

        Args:
            visual: open_clip image tower, all frozen: ``VisionTransformer``,
                ``ModifiedResNet`` or ``TimmModel``.
            num_classes: C, for adapters whose size depends on it.

        Returns:
            The inserted modules, which follow the model's train / eval mode (the
            rest of the tower stays in eval mode).

        Raises:
            ValueError: If the adapter does not fit the tower.
        """

    def merge(self, visual: nn.Module) -> None:  # noqa: B027 (may stay as it is)
        """Work what :meth:`attach` inserted into the tower's own weights.

        The tower gives the same features up to rounding and has its own layers again.
        What cannot be merged stays, and so does everything unless a subclass says how.

        Args:
            visual: The tower, with this adapter; changed in place.
        """


def transformer_blocks(visual: nn.Module) -> nn.ModuleList | None:
    """Blocks of a ViT tower (open_clip's or timm's), None for a CNN."""
    if hasattr(visual, "transformer"):
        return visual.transformer.resblocks
    blocks = getattr(getattr(visual, "trunk", None), "blocks", None)
    if blocks is not None and all(hasattr(block, "attn") for block in blocks):
        return blocks
    return None


def tower_name(visual: nn.Module) -> str:
    """Name of a tower for messages: the timm model's own name where it is one."""
    return type(getattr(visual, "trunk", visual)).__name__
