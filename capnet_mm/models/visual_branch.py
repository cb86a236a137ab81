"""Classifiers in the image tower's own feature space."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from .image_features import ImageFeatures


@MODELS.register_module()
class VisualBranch(BaseModule):
    r"""A linear classifier on what the image tower sees, ahead of the projection.

    .. math:: x_c = w_c^\top \frac{v - \mu}{\sigma} + b_c

    with v the tower's pooled feature, (w,), and μ, σ² running statistics of the
    training images. The joint space keeps of the tower what texts could name; the
    branch has the rest. It is meant for a strong weight decay (1 to 3 with AdamW),
    which keeps a class of five images from learning these by heart.

    Source: linear probing (CLIP, Radford et al., 2021); batch normalisation without
    an affine part ahead of it is He et al.'s (MAE, CVPR 2022).

    Args:
        num_classes (int): C.
        in_channels (int): w, width of the tower's feature.
        bias (float): b_c at start: a logit of rare labels. Defaults to -3.
        momentum (float): Of the running statistics. Defaults to 0.05.

    Raises:
        ValueError: When called, the feature has another width.
    """

    name = "visual"
    trained = True
    needs_map = False
    # Its parameters belong to these classes in this order.
    class_specific = True

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        bias: float = -3.0,
        momentum: float = 0.05,
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_channels, affine=False, momentum=momentum)
        self.fc = nn.Linear(in_channels, num_classes)
        nn.init.zeros_(self.fc.weight)
        nn.init.constant_(self.fc.bias, bias)

    def forward(self, features: ImageFeatures) -> Tensor:
        """Score images.

        Args:
            features: ``tower``, (B, w), of B images.

        Returns:
            Logits, (B, C), float32.
        """
        tower, expected = features.tower, self.fc.in_features
        if tower.shape[1:] != (expected,):
            raise ValueError(
                f"VisualBranch expected the tower's feature, (B, {expected}), got "
                f"{tuple(tower.shape)}: set visual=dict(in_channels="
                f"{tower.shape[-1]}), and have the backbone give ImageFeatures "
                "(CLIPBackbone with out_type='features')."
            )
        with torch.autocast(tower.device.type, enabled=False):
            weight = self.fc.weight
            tower = tower.to(weight.dtype)
            # One image has no variance: the running statistics serve.
            single = self.training and len(tower) == 1
            norm = self.norm.eval() if single else self.norm
            logits = self.fc(norm(tower))
            norm.train(self.training)
            return logits
