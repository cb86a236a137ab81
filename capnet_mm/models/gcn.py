"""The graph convolution that turns text features into residuals."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from .label_graph import IdentityAdjacency, TopKAdjacency
from .scalars import scalars_to_vectors


@MODELS.register_module()
class ResidualGCN(BaseModule):
    r"""Three-layer graph convolution that gives residuals of the text features.

    The result is :math:`\gamma H_3` with

    .. math::
        H_1 = \phi(A H_0 W_1), \quad H_2 = \phi(A H_1 W_2), \quad H_3 = A H_2 W_3,

    :math:`\phi` = LeakyReLU(0.2), no biases, widths d → 2d → 2d → d.

    Source: residuals from a three-layer GCN in CAPNET; widths and activation
    from SCPNet (Ding et al., CVPR 2023); starting W_3 at zero is ours, so that
    training starts at CLIP's own text features.

    Args:
        dim (int): d, dimension of the text features.
        hidden_dim (int, optional): Width between the layers. Defaults to 2d.
        gamma (float): γ, the residual's weight. Defaults to 1.
        learnable_gamma (bool): Whether γ is trained. Defaults to False.
        zero_init (bool): Start W_3 at zero; otherwise Xavier-uniform as the
            other layers. Defaults to True.
        num_classes (int, optional): Not used; every residual module is told.
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int | None = None,
        gamma: float = 1.0,
        learnable_gamma: bool = False,
        zero_init: bool = True,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        hidden_dim = hidden_dim or 2 * dim
        self.layer1 = nn.Linear(dim, hidden_dim, bias=False)
        self.layer2 = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.layer3 = nn.Linear(hidden_dim, dim, bias=False)
        for layer in (self.layer1, self.layer2, self.layer3):
            nn.init.xavier_uniform_(layer.weight)
        if zero_init:
            nn.init.zeros_(self.layer3.weight)
        gamma = torch.tensor([float(gamma)])  # (1,): FSDP cannot shard a scalar
        if learnable_gamma:
            self.gamma = nn.Parameter(gamma)
        else:
            self.register_buffer("gamma", gamma)

    def forward(
        self, features: Tensor, adjacency: Tensor | TopKAdjacency | IdentityAdjacency
    ) -> Tensor:
        """Compute the residuals.

        Args:
            features: H_0, text features of the classes, (C, d).
            adjacency: A, (C, C), or what multiplies as A does.

        Returns:
            γ H_3, (C, d), in the data type of the features.
        """
        x = features.to(self.gamma.dtype)
        x = F.leaky_relu(self.layer1((adjacency @ x).to(x)), 0.2)
        x = F.leaky_relu(self.layer2((adjacency @ x).to(x)), 0.2)
        return (self.gamma * self.layer3((adjacency @ x).to(x))).to(features)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        scalars_to_vectors(state_dict, prefix, ("gamma",))
        super()._load_from_state_dict(state_dict, prefix, *args)


@MODELS.register_module()
class ZeroResidual(BaseModule):
    """No residual: the class embeddings are the prompts' text features.

    Args:
        dim (int, optional): Not used; every residual module is told.
        num_classes (int, optional): Not used.
    """

    def __init__(self, dim: int | None = None, num_classes: int | None = None) -> None:
        super().__init__()

    def forward(self, features: Tensor, adjacency) -> Tensor:
        """Return zeros, (C, d)."""
        return torch.zeros_like(features)
