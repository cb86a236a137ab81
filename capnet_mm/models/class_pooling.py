"""How the places of an image add to the scores of its classes."""

import math

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from .image_features import ImageFeatures


class GlobalPooling(nn.Module):
    """Scores by the backbone's own pooled feature: local pooling is switched off."""

    needs_map = False

    def forward(
        self, features: ImageFeatures, class_embeddings: Tensor, scale: Tensor
    ) -> Tensor:
        """See :meth:`ClassPooling.forward`."""
        return scale * F.normalize(features.pooled, dim=-1) @ class_embeddings.T

    def activation_maps(
        self, features: ImageFeatures, class_embeddings: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Refuse: one vector an image says nothing of places."""
        raise ValueError(
            "There are no class activation maps without local pooling: give the head "
            "pooling=dict(type='ClassPooling')."
        )


@MODELS.register_module()
class ClassPooling(BaseModule):
    r"""Each class looks at the places that speak for it.

    .. math::
        a_{pc} = \mathrm{softmax}_p(\cos(v_p, z_c) / t), \quad
        e_c = (1 - w) \cos(v, z_c) + w \sum_p a_{pc} \cos(v_p, z_c)

    v is the pooled image feature and v_p that at the place p. As t falls the sum goes
    from the mean over the places to the maximum, so that small objects count.

    Not the paper's. Source: class-wise pooling of places in the joint space as
    HP-DVAL; residual attention of CSRA (Zhu and Wu, ICCV 2021), whose λ is w.

    Args:
        weight (float): w at start, 0 to 1. Defaults to 1: places alone.
        temperature (float): t at start. Defaults to 0.05.
        learnable (bool): Train w, which nothing keeps within 0 and 1 then, and t (as
            log t). Defaults to False.

    Raises:
        ValueError: ``weight`` is not within 0 and 1, or ``temperature`` not positive.
    """

    needs_map = True

    def __init__(
        self, weight: float = 1.0, temperature: float = 0.05, learnable: bool = False
    ) -> None:
        super().__init__()
        if not 0 <= weight <= 1:
            raise ValueError(f"weight must be within 0 and 1, got {weight}.")
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}.")
        # (1,): FSDP cannot shard a scalar.
        self.weight = nn.Parameter(torch.tensor([float(weight)]), learnable)
        self.log_temperature = nn.Parameter(
            torch.tensor([math.log(temperature)]), learnable
        )

    def forward(
        self, features: ImageFeatures, class_embeddings: Tensor, scale: Tensor
    ) -> Tensor:
        """Score images.

        Args:
            features: ``map`` and ``pooled`` of B images, neither normalised.
            class_embeddings: z, (C, d), of unit length.
            scale: 1 / τ, (1,).

        Returns:
            e / τ, (B, C).

        Raises:
            ValueError: The features have no map.
        """
        cosines, attention = self._evidence(features, class_embeddings)
        local = (attention * cosines).sum(1)
        whole = F.normalize(features.pooled, dim=-1) @ class_embeddings.T
        weight = self.weight.to(whole.dtype)
        return scale * ((1 - weight) * whole + weight * local)

    def activation_maps(
        self, features: ImageFeatures, class_embeddings: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Class activation maps.

        Args:
            features: See :meth:`forward`.
            class_embeddings: See :meth:`forward`.

        Returns:
            cos(v_p, z_c), what speaks for a class at a place, and a_pc, how much the
            place counts; (B, C, H, W) each.

        Raises:
            ValueError: The features have no map.
        """
        maps = self._evidence(features, class_embeddings)
        size = features.map.shape[-2:]
        return tuple(each.transpose(1, 2).unflatten(2, size) for each in maps)

    def _evidence(
        self, features: ImageFeatures, class_embeddings: Tensor
    ) -> tuple[Tensor, Tensor]:
        """cos(v_p, z_c) and a_pc, (B, H W, C) each."""
        if features.map is None:
            raise ValueError(
                "ClassPooling needs a feature at every place, (B, channels, H, W), but "
                f"the backbone gives {tuple(features.pooled.shape)}, one vector an "
                "image. Use CLIPBackbone(out_type='features'), or another backbone "
                "without a neck (a ViT of MMPretrain's with out_type='featmap'), or "
                "pooling=None."
            )
        places = features.map.flatten(2).transpose(1, 2)  # (B, H W, d)
        # Not normalised but divided: C numbers a place are fewer than d.
        lengths = places.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        cosines = places @ class_embeddings.T / lengths
        temperature = self.log_temperature.to(cosines.dtype).exp()
        return cosines, (cosines / temperature).softmax(1)
