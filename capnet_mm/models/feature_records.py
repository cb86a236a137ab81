"""Image features as bytes, for a cache, and back."""

from typing import NamedTuple

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

from .image_features import ImageFeatures


class FeatureLayout(NamedTuple):
    """Where :class:`ImageFeatures` lie in records of bytes.

    Pooled features are kept in float16; a map in int8, with a step of its own in each
    place (the largest absolute value there is 127 steps), so that a cosine with a
    place changes by some 0.0004.

    Attributes:
        tower: Width of the tower's own space. 0: ``pooled`` stands for it.
        pooled: Width d of the joint space.
        places: Height and width of the map. None: there is no map.
    """

    tower: int
    pooled: int
    places: tuple[int, int] | None

    @classmethod
    def of(cls, features: ImageFeatures) -> "FeatureLayout":
        """Read the layout off features."""
        tower = 0 if features.tower is features.pooled else features.tower.shape[1]
        places = None if features.map is None else tuple(features.map.shape[-2:])
        return cls(tower, features.pooled.shape[1], places)

    @property
    def num_bytes(self) -> int:
        """R, length of a record."""
        return sum(self._sizes())

    def encode(self, features: ImageFeatures) -> Tensor:
        """Write features.

        Args:
            features: Of B images; ``tower_map`` is left out.

        Returns:
            Records, (B, R) uint8.

        Raises:
            ValueError: A feature is not finite in float16.
        """
        parts = [features.tower] if self.tower else []
        parts = [part.half() for part in (*parts, features.pooled)]
        if not all(part.isfinite().all() for part in parts):
            raise ValueError(
                "The tower gives features that are not finite in float16, so that they "
                "cannot be cached: train on the images themselves, without a cache."
            )
        if self.places is not None:
            places = features.map.flatten(2).transpose(1, 2).float()  # (B, H W, d)
            steps = places.abs().amax(-1).clamp_min(1e-30) / 127
            codes = (places / steps[..., None]).round().to(torch.int8)
            parts += [steps, codes.flatten(1)]
        return torch.cat([part.contiguous().view(torch.uint8) for part in parts], 1)

    def decode(self, records: Tensor) -> ImageFeatures:
        """Read features, float32, from records (B, R)."""
        tower, pooled, steps, codes = records.split(self._sizes(), 1)
        pooled = pooled.contiguous().view(torch.float16).float()
        tower = tower.contiguous().view(torch.float16).float() if self.tower else pooled
        if self.places is None:
            return ImageFeatures(None, tower, None, pooled)
        steps = steps.contiguous().view(torch.float32)
        codes = codes.contiguous().view(torch.int8).unflatten(1, (-1, self.pooled))
        places = codes.float() * steps[..., None]  # (B, H W, d)
        maps = places.transpose(1, 2).unflatten(2, self.places)
        return ImageFeatures(None, tower, maps, pooled)

    def _sizes(self) -> list[int]:
        """Bytes of the tower's feature, the pooled one, the steps and the map."""
        number = 0 if self.places is None else self.places[0] * self.places[1]
        return [2 * self.tower, 2 * self.pooled, 4 * number, number * self.pooled]


class FeaturePreprocessor(BaseDataPreprocessor):
    """Has a model take records of features beside images.

    Args:
        images (nn.Module): The model's own preprocessor; what is no record goes
            through it, and so do the labels of all.
        layout (FeatureLayout): Of the records.

    Raises:
        ValueError: ``images`` mixes the images of a batch.
    """

    def __init__(self, images: nn.Module, layout: FeatureLayout) -> None:
        super().__init__()
        if getattr(images, "batch_augments", None) is not None:
            raise ValueError(
                "Images that are mixed (batch_augments, as Mixup) cannot be trained on "
                "from a feature cache: take train_cfg.augments out, or train without "
                "the cache."
            )
        self.images = images
        self.layout = layout

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: ``inputs``, records (B, R) uint8, a list of (R,), or images; and
                ``data_samples``.
            training: Whether it is for training.

        Returns:
            ``data``, with :class:`ImageFeatures` of records as ``inputs``.
        """
        records = data["inputs"]
        if isinstance(records, list | tuple) and records[0].ndim == 1:
            records = torch.stack(list(records))
        if not isinstance(records, Tensor) or records.ndim != 2:
            return self.images(data, training)
        records = self.cast_data(records)
        # Labels are the preprocessor's own matter; it is given images of one pixel.
        pixels = records.new_zeros(len(records), 1, 1, 1)
        prepared = self.images({**data, "inputs": pixels}, training)
        return {**prepared, "inputs": self.layout.decode(records)}
