"""The label graph: which classes are near in CLIP's text space."""

from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

# 64 MiB of cosines at a time, however many classes there are.
_CHUNK_ENTRIES = 2**24


class TopKAdjacency(NamedTuple):
    """The k entries of every row of an adjacency that are not zero.

    ``adjacency @ features`` is the product with the whole matrix, in O(k C d) and
    without it: 10,000 classes with k = 20 take 2.4 MB instead of 400.

    Args:
        indices (Tensor): Columns of the entries, (C, k).
        weights (Tensor): The entries, (C, k), float32.
    """

    indices: Tensor
    weights: Tensor

    def __matmul__(self, features: Tensor) -> Tensor:
        """Sum each row's neighbours, (C, d), in float32; gradient to features."""
        # A bag is a weighted sum of rows; the gathered (C, k, d) is never held.
        return F.embedding_bag(
            self.indices,
            features.float(),
            per_sample_weights=self.weights.float(),
            mode="sum",
        )

    def dense(self) -> Tensor:
        """The whole matrix, (C, C)."""
        num_classes = len(self.indices)
        matrix = self.weights.new_zeros(num_classes, num_classes)
        return matrix.scatter_(1, self.indices, self.weights)


class IdentityAdjacency:
    """The identity matrix: every class is its own only neighbour."""

    def __matmul__(self, features: Tensor) -> Tensor:
        """Return the features."""
        return features


def label_adjacency(
    features: Tensor,
    topk: int,
    neighbor_weight: float = 0.2,
    temperature: float | None = None,
    center: bool = False,
) -> TopKAdjacency:
    r"""Row-stochastic adjacency of the classes.

    Takes O(C² d) time, once, and O(C k) memory: the cosines are computed for some
    rows at a time.

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
        The entries that are not zero, k a row; rows sum to 1.

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
    chunk = max(1, _CHUNK_ENTRIES // len(features))
    rows = torch.arange(len(features), device=features.device).split(chunk)
    parts = [
        _neighbors_of(some, features, topk, neighbor_weight, temperature)
        for some in rows
    ]
    indices, weights = zip(*parts, strict=True)
    return TopKAdjacency(torch.cat(indices), torch.cat(weights))


def _neighbors_of(
    rows: Tensor,
    features: Tensor,
    topk: int,
    neighbor_weight: float,
    temperature: float | None,
) -> tuple[Tensor, Tensor]:
    """Kept entries of some rows of A: columns and values, (rows, k), itself first."""
    similarity = features[rows] @ features.T
    # The class itself is always among its top k, and first.
    similarity.scatter_(1, rows[:, None], torch.inf)
    kept = similarity.topk(min(topk, len(features)))
    cosine = kept.values[:, 1:]
    if temperature is None:
        weights = cosine.clamp(min=0)
    else:
        weights = (cosine / temperature).softmax(1)
    row_sum = weights.sum(1, keepdim=True)
    weights = neighbor_weight * weights / row_sum.clamp(min=1e-12)
    itself = 1 - weights.sum(1, keepdim=True)
    return kept.indices, torch.cat([itself, weights], dim=1)


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
        self._settings = dict(
            topk=topk,
            neighbor_weight=neighbor_weight,
            temperature=temperature,
            center=center,
        )
        indices, weights = label_adjacency(features, **self._settings)
        self.register_buffer("indices", indices, persistent=False)
        self.register_buffer("weights", weights, persistent=False)
        # Not computed with; reports show the cosines beside the graph made of them.
        self.register_buffer("features", features.detach(), persistent=False)

    def extended(self, features: Tensor) -> "LabelGraph":
        """Make the graph of these classes and some more.

        Args:
            features: Frozen text features of the new classes, (K, d).

        Returns:
            The graph of C + K classes, the new ones last, with the same settings.
        """
        together = torch.cat([self.features, features.to(self.features)])
        return LabelGraph(together, **self._settings)

    @property
    def adjacency(self) -> Tensor:
        """The whole matrix, (C, C)."""
        return TopKAdjacency(self.indices, self.weights).dense()

    def forward(self) -> Tensor | TopKAdjacency:
        """Return what ``@`` multiplies features with.

        The matrix, (C, C), or, where less than one entry in eight is not zero, its
        entries.
        """
        num_classes, topk = self.indices.shape
        if 8 * topk < num_classes:
            return TopKAdjacency(self.indices, self.weights)
        return self.adjacency


@MODELS.register_module()
class IdentityGraph(BaseModule):
    """No graph: every class stands alone.

    Args:
        features (Tensor, optional): Not used; every graph is told.
    """

    def __init__(self, features: Tensor | None = None) -> None:
        super().__init__()

    def forward(self) -> IdentityAdjacency:
        """Return what ``@`` multiplies features with."""
        return IdentityAdjacency()

    def extended(self, features: Tensor) -> "IdentityGraph":
        """Return itself: more classes stand alone too."""
        return self
