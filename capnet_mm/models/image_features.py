"""What a backbone says of images: pooled features, and features at every place."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class ImageFeatures(NamedTuple):
    """Features of B images, pooled and at H × W places.

    ``pooled`` comes last, because MMPretrain's heads take the last of a tuple.

    Attributes:
        tower_map: (B, w, H, W) in the tower's own space. None: there are only pooled
            features.
        tower: (B, w) what the tower pools, ahead of the projection.
        map: (B, d, H, W) in the joint space of images and texts, not normalised.
            None: there are only pooled features.
        pooled: (B, d) in the joint space, not normalised.
    """

    tower_map: Tensor | None
    tower: Tensor
    map: Tensor | None
    pooled: Tensor

    def project(self, projection: Callable[[Tensor], Tensor]) -> "ImageFeatures":
        """Take ``map`` and ``pooled`` to another space, (…, d) to (…, e)."""
        return self._replace(
            map=None if self.map is None else at_every_place(projection, self.map),
            pooled=projection(self.pooled),
        )


def at_every_place(layer: Callable[[Tensor], Tensor], places: Tensor) -> Tensor:
    """Apply a layer on vectors, (…, w) to (…, d), to a map (B, w, H, W)."""
    return layer(places.movedim(1, -1)).movedim(-1, 1)


def last_stage(feats: Tensor | tuple | list) -> Tensor | ImageFeatures:
    """Find the last stage in what a backbone gives.

    Args:
        feats: A tuple of stages; in MMPretrain's older ViTs a stage may be one too;
            and a backbone that is no MMPretrain's may return its one tensor as it is.
    """
    while isinstance(feats, list | tuple) and not isinstance(feats, ImageFeatures):
        feats = feats[-1]
    return feats


def as_image_features(stage: Tensor | ImageFeatures, has_map: bool) -> ImageFeatures:
    """Have a stage of any backbone be :class:`ImageFeatures`.

    Args:
        stage: A tensor, which is in the tower's space and taken for the joint one
            too, or features, which stay as they are.
        has_map: Whether a tensor (B, w, H, W) is a map, whose mean over the places is
            pooled. If not, a tensor is taken for pooled features.
    """
    if isinstance(stage, ImageFeatures):
        return stage
    if has_map and stage.ndim == 4:
        pooled = stage.mean((2, 3))
        return ImageFeatures(stage, pooled, stage, pooled)
    return ImageFeatures(None, stage, None, stage)
