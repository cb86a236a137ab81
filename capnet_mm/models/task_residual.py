"""Residuals of the class embeddings that are free parameters."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class TaskResidual(BaseModule):
    r"""One free residual for each class, in place of the GCN's.

    The class embeddings are :math:`z_c = (f_c + \alpha r_c) / \|f_c + \alpha r_c\|`
    with :math:`r_c` trained from zero: with a strong decay they stay where CLIP's words
    are, as far as the images do not say otherwise. Nothing runs through the text
    encoder if the prompts are hand-written, so that a step takes next to no time.

    Source: TaskRes (Yu et al., CVPR 2023), where α is 0.5; 1 is ours.

    Args:
        dim (int): d, dimension of the text features.
        num_classes (int): C.
        alpha (float): α, the residual's weight. Defaults to 1.
    """

    # Its parameters belong to these classes in this order.
    class_specific = True

    def __init__(self, dim: int, num_classes: int, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha
        self.residual = nn.Parameter(torch.zeros(num_classes, dim))

    def forward(self, features: Tensor, adjacency) -> Tensor:
        """Return α r, (C, d), whatever the adjacency."""
        return self.alpha * self.residual.to(features)
