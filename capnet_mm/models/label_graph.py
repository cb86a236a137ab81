"""The label graph: which classes are near in CLIP's text space."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor
from torch.nn import functional as F


def label_adjacency(
    features: Tensor,
    topk: int,
    neighbor_weight: float = 0.2,
    temperature: float | None = None,
    center: bool = False,
) -> Tensor:
    r"""Row-stochastic adjacency of the classes.

    With :math:`S = E E^\top` of unit features, the k largest entries of every
    row are kept (the class itself among them) and

    .. math::
        A_{ij} = s \frac{R_{ij}}{\sum_{l \ne i} R_{il}} \;(j \ne i),
        \qquad A_{ii} = 1 - s,

    where R is S on the kept entries, or :math:`\exp(S / \tau')`. A row without
    a (positively) similar neighbour keeps its whole weight: A_ii = 1.

    Source: graph from the text encoder, s and τ' in CAPNET; top-k and the
    re-weighting from SCPNet (Ding et al., CVPR 2023); centring is ours, since
    raw cosines of CLIP text features all lie in 0.55–0.94.

    Args:
        features: Text features of the classes, (C, d), of any length.
        topk: k, number of entries kept in each row, the class itself included.
            More than C keeps all.
        neighbor_weight: s, the share of the neighbours, 0 to 1.
        temperature: τ' of the softmax over a row's neighbours. None: weights in
            proportion to the cosine, negative ones as 0.
        center: Subtract the class mean from the features before the cosine.

    Returns:
        Adjacency, (C, C), rows sum to 1.

    Raises:
        ValueError: For k < 1, s outside 0…1 or τ' <= 0.
    """
    if topk < 1:
        raise ValueError(f"topk must be at least 1 (the class itself), got {topk}.")
    if not 0 <= neighbor_weight <= 1:
        raise ValueError(
            f"neighbor_weight (s) must be in [0, 1], got {neighbor_weight}."
        )
    if temperature is not None and temperature <= 0:
        raise ValueError(f"temperature (τ') must be positive, got {temperature}.")
    features = F.normalize(features.float(), dim=-1)
    if center:
        features = F.normalize(features - features.mean(0), dim=-1)
    num_classes = len(features)
    similarity = features @ features.T
    similarity.fill_diagonal_(torch.inf)  # the class itself is always among its top k
    kept = torch.zeros_like(similarity, dtype=torch.bool)
    kept.scatter_(1, similarity.topk(min(topk, num_classes)).indices, True)
    kept.fill_diagonal_(False)
    if temperature is None:
        weights = similarity.clamp(min=0).masked_fill(~kept, 0)
    else:
        scores = (similarity / temperature).masked_fill(~kept, -torch.inf)
        weights = scores.softmax(1).nan_to_num(0)  # a row with no neighbour is NaN
    row_sum = weights.sum(1, keepdim=True)
    adjacency = neighbor_weight * weights / row_sum.clamp(min=1e-12)
    return adjacency + torch.diag(1 - adjacency.sum(1))


@MODELS.register_module()
class LabelGraph(BaseModule):
    """Holds the adjacency of :func:`label_adjacency`; nothing is learned.

    The adjacency follows from the class names and CLIP, so it is not saved.

    Args:
        features (Tensor): Frozen text features of the classes, (C, d).
        topk (int): k. Defaults to 20 (VOC; SCPNet takes 62 for COCO).
        neighbor_weight (float): s. Defaults to 0.2.
        temperature (float, optional): τ'. Defaults to None: no softmax.
        center (bool): Centre the features first. Defaults to False.
    """

    def __init__(
        self,
        features: Tensor,
        topk: int = 20,
        neighbor_weight: float = 0.2,
        temperature: float | None = None,
        center: bool = False,
    ) -> None:
        super().__init__()
        adjacency = label_adjacency(
            features, topk, neighbor_weight, temperature, center
        )
        self.register_buffer("adjacency", adjacency, persistent=False)

    def forward(self) -> Tensor:
        """Return the adjacency, (C, C)."""
        return self.adjacency
