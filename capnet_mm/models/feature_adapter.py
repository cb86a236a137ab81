"""An adapter behind the image tower."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .image_features import ImageFeatures, at_every_place, last_stage


@MODELS.register_module()
class FeatureAdapter(BaseModule):
    r"""A neck that bends image features in the joint space.

    .. math::
        v' = (1 - \alpha) v
            + \alpha |v| \, \mathrm{ReLU}(W_2 \mathrm{ReLU}(W_1 v / |v|))

    Source: CLIP-Adapter (Gao et al., IJCV 2024): bottleneck d / 4, no biases, α = 0.2.
    Its visual adapter takes normalised features; so does this one, and gives them their
    length back.

    Args:
        in_channels (int): d, width of the joint space.
        reduction (int): d over the bottleneck's width. Defaults to 4.
        ratio (float): α. Defaults to 0.2.
        init_cfg (dict, optional): MMEngine's initialisation config.

    Examples:
        >>> model = dict(neck=dict(type='FeatureAdapter', in_channels=512))
    """

    def __init__(
        self,
        in_channels: int,
        reduction: int = 4,
        ratio: float = 0.2,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.ratio = ratio
        width = max(1, in_channels // reduction)
        self.layers = nn.Sequential(
            nn.Linear(in_channels, width, bias=False),
            nn.ReLU(),
            nn.Linear(width, in_channels, bias=False),
            nn.ReLU(),
        )

    def forward(self, feats: tuple) -> tuple[Tensor | ImageFeatures]:
        """Bend the last stage: (B, d), (B, d, H, W), or :class:`ImageFeatures`."""
        stage = last_stage(feats)
        if isinstance(stage, ImageFeatures):
            return (stage.project(self._bend),)
        if stage.ndim == 4:
            return (at_every_place(self._bend, stage),)
        return (self._bend(stage),)

    def _bend(self, features: Tensor) -> Tensor:
        """Features (…, d) to (…, d)."""
        length = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
        bent = self.layers(features / length.clamp_min(1e-12))
        return (1 - self.ratio) * features + self.ratio * length * bent
