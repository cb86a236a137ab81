"""Residual attention over the places of a CLIP's image tower."""

from collections.abc import Sequence

from mmpretrain.models.heads import CSRAClsHead
from mmpretrain.registry import MODELS
from torch import Tensor

from ..image_features import ImageFeatures, last_stage
from .class_names import resolve_class_names
from .partial_labels import PartialLabelMixin


@MODELS.register_module()
class PartialLabelCSRAHead(PartialLabelMixin, CSRAClsHead):
    """:class:`CSRAClsHead` for a ``CLIPBackbone``, and for unknown labels.

    It reads the tower's own map, ahead of the projection to the joint space; of another
    backbone it reads the last map, as MMPretrain's does.

    Args:
        classes (dict | Sequence[str]): As of ``CorrelationPromptHead``.
        in_channels (int): Width of the map.
        num_heads (int): Number of attentions, 1, 2, 4, 6 or 8. Defaults to 1.
        lam (float): λ, what attention adds to the mean. Defaults to 0.1.
        **kwargs: Others of MMPretrain's head.

    Examples:
        >>> head = PartialLabelCSRAHead(
        ...     classes=['dog', 'cat'],
        ...     in_channels=1280,
        ...     loss=dict(type='CrossEntropyLoss', use_sigmoid=True))
    """

    # Has CLIPClassifier ask the backbone for maps.
    needs_features = True

    def __init__(
        self,
        classes: dict | Sequence[str],
        in_channels: int,
        num_heads: int = 1,
        lam: float = 0.1,
        **kwargs,
    ) -> None:
        self.classes, _ = resolve_class_names(classes)
        super().__init__(
            num_classes=len(self.classes),
            in_channels=in_channels,
            num_heads=num_heads,
            lam=lam,
            **kwargs,
        )

    def pre_logits(self, feats: tuple) -> Tensor:
        """Take the map, (B, w, H, W), from what a backbone gives."""
        stage = last_stage(feats)
        return stage.tower_map if isinstance(stage, ImageFeatures) else stage
