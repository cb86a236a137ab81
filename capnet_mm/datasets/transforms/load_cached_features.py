"""An image's features from a cache, in place of its pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from ..feature_store import FeatureStore
from .loading import CorruptImageError


@TRANSFORMS.register_module()
class LoadCachedFeatures(BaseTransform):
    """Read the features of a view of the image.

    :class:`~capnet_mm.engine.FeatureCacheHook` fills the cache and puts this at the
    place of the transforms that load and crop.

    **Required Keys:**

    - img_path

    **Added Keys:**

    - img ((R,) uint8, which the model's ``FeaturePreprocessor`` reads)

    Args:
        folder (str): Folder of a :class:`FeatureStore`, named by its key.
        views (Sequence[int]): Numbers of the views, one of which is drawn at random.

    Raises:
        CorruptImageError: The image has no features, since it could not be decoded
            when the cache was filled.
        ValueError: The cache is damaged.
    """

    def __init__(self, folder: str, views: Sequence[int]) -> None:
        folder = Path(folder)
        self.store = FeatureStore(folder.parent, folder.name)
        self.views = tuple(views)

    def transform(self, results: dict) -> dict:
        """Read.

        Args:
            results (dict): Sample with ``img_path``.

        Returns:
            dict: ``results``, with ``img``.
        """
        choice = np.random.randint(len(self.views)) if len(self.views) > 1 else 0
        record = self.store.get(results["img_path"], self.views[choice])
        if record is None:
            raise CorruptImageError(
                f"The image {results['img_path']} is not in the feature cache "
                f"{self.store.folder}: it could not be decoded when the cache was "
                "filled, or has been put on the list since."
            )
        results["img"] = record
        return results

    def __repr__(self) -> str:
        """Say which cache and views."""
        folder = str(self.store.folder)
        return f"{self.__class__.__name__}(folder={folder!r}, views={self.views})"
