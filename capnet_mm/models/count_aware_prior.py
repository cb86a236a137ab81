"""CLIP's own word on the classes, which no training image changes."""

import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from .class_pooling import ClassPooling
from .image_features import ImageFeatures


@MODELS.register_module()
class CountAwarePrior(BaseModule):
    r"""The frozen zero-shot score, as evidence beside what was learned.

    .. math:: x_c = s \sum_p a_{pc} \cos(v_p, e_c)

    with e_c the text feature of the hand-written prompt and a_pc the attention of
    :class:`ClassPooling`. How much it counts for a class is :class:`ScoreFusion`'s to
    say, from the training counts and from scores of images that were left out of
    training: a class of five images whose word CLIP knows leans on the word.

    Args:
        features (Tensor): e, text features of the hand-written prompts, (C, d).
        pooling (dict): Config of the pooling. Defaults to
            dict(type='ClassPooling', weight=1.0, temperature=0.1).
        scale (float): s. Any positive number serves, since the fusion standardises.
            Defaults to 100, as CLIP's own.
    """

    name = "prior"
    trained = False
    class_specific = False

    def __init__(
        self,
        features: Tensor,
        pooling: dict = dict(type=ClassPooling, weight=1.0, temperature=0.1),  # noqa: B006
        scale: float = 100.0,
    ) -> None:
        super().__init__()
        self.pooling = MODELS.build(pooling)
        self.pooling.requires_grad_(False)
        # Made from the class names and CLIP, so they are not saved.
        unit = torch.nn.functional.normalize(features.float(), dim=-1)
        self.register_buffer("embeddings", unit, persistent=False)
        self.register_buffer("scale", torch.tensor([float(scale)]), persistent=False)

    @property
    def needs_map(self) -> bool:
        """Whether features at every place are read."""
        return self.pooling.needs_map

    @torch.no_grad()
    def forward(self, features: ImageFeatures) -> Tensor:
        """Score images: features of B images in the joint space to logits, (B, C)."""
        with torch.autocast(features.pooled.device.type, enabled=False):
            features = features.project(Tensor.float)
            return self.pooling(features, self.embeddings, self.scale)
