"""Filling a feature cache: one pass of the images through the frozen tower."""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from capnet_mm.datasets.feature_store import SHARD_BYTES, FeatureStore, key_name
from capnet_mm.datasets.fixed_views import FixedViews
from capnet_mm.datasets.transforms import CorruptImageError
from capnet_mm.models import CLIPBackbone, ImageFeatures
from capnet_mm.models.feature_records import FeatureLayout, FeaturePreprocessor
from capnet_mm.models.tensor_cache import is_sharded

# What may be kept of an image; the earlier kinds hold the later ones too.
_KINDS = ("map", "tower", "pooled")
# Views that go through the tower together, about.
_BATCH_SIZE = 64
# Seconds between two lines about a pass.
_SAY_EVERY = 20.0


class FeatureCache:
    """Features of images from a model's frozen tower, computed once.

    Args:
        model (BaseModel): With a ``CLIPBackbone``; not wrapped.
        root (str): Folder of the cache.
        say (Callable[[str], None]): Tells the user.

    Raises:
        ValueError: The model's features cannot be cached.
    """

    def __init__(self, model: BaseModel, root: str, say: Callable[[str], None]) -> None:
        backbone = getattr(model, "backbone", None)
        if not isinstance(backbone, CLIPBackbone):
            raise ValueError(
                "A feature cache needs a model whose backbone is a CLIPBackbone, got "
                f"{type(backbone).__name__}: train without the cache."
            )
        if any(map(is_sharded, model.parameters())):
            raise ValueError(
                "A feature cache cannot be filled with weights that several processes "
                "share (FSDP): use DistributedDataParallel or one process."
            )
        self.model, self.root, self.say = model, root, say
        images = model.data_preprocessor
        if isinstance(images, FeaturePreprocessor):
            images = images.images
        self.images = images
        needs_map = getattr(getattr(model, "head", None), "needs_map", True)
        self.kind = "map" if needs_map else "tower"
        if backbone.out_type == "pooled":
            self.kind = "pooled"
        self._tower: dict | None = None

    def fill(
        self,
        views: FixedViews,
        paths: Sequence[str],
        num_workers: int,
        skip_corrupt: bool,
    ) -> FeatureStore:
        """Have the features of images on disk.

        Args:
            views: What is cached of each image.
            paths: The image files.
            num_workers: Processes that load images.
            skip_corrupt: Whether to go on without images that cannot be decoded.

        Returns:
            Where they are.

        Raises:
            CorruptImageError: An image cannot be decoded.
            OSError: There is not enough room on the disk.
            ValueError: The features cannot be cached.
        """
        wait = f"Another process fills the feature cache {self.root}: waiting for it."
        for kind in _KINDS[: _KINDS.index(self.kind) + 1]:
            store = FeatureStore(self.root, key_name(self._key(kind, views)))
            if kind != self.kind and not store.folder.exists():
                continue
            with store.locked(lambda: self.say(wait)):
                missing = store.missing(paths)
                if missing and kind == self.kind:
                    self._compute(store, views, missing, num_workers, skip_corrupt)
            if not missing:
                break
        self._read_records(store)
        return store

    def _key(self, kind: str, views: FixedViews) -> dict:
        """All that the records depend on, beside an image's contents."""
        if self._tower is None:
            self._tower = self.model.backbone.frozen_identity()
        options = ("to_rgb", "pad_size_divisor", "pad_value")
        return dict(
            version=1,
            tower=self._tower,
            kind=kind,
            mean_and_std={k: b.flatten().tolist() for k, b in self._buffers()},
            preprocessor={o: str(getattr(self.images, o, None)) for o in options},
            views=views.describe(),
        )

    def _buffers(self) -> Iterator[tuple[str, Tensor]]:
        return self.images.named_buffers()

    def _read_records(self, store: FeatureStore) -> None:
        """Have the model take the store's records."""
        about = store.about.get("layout")
        if about is None:  # no image could be decoded
            return
        layout = FeatureLayout(**about)
        if layout.places is not None:
            layout = layout._replace(places=tuple(layout.places))
        preprocessor = FeaturePreprocessor(self.images, layout)
        device = next(self.model.parameters()).device
        self.model.data_preprocessor = preprocessor.to(device)

    def _compute(
        self,
        store: FeatureStore,
        views: FixedViews,
        missing: dict[str, str],
        num_workers: int,
        skip_corrupt: bool,
    ) -> None:
        start, progress = time.monotonic(), _Progress(len(missing), self.say)
        kept: list[tuple[str, np.ndarray]] = []
        for digests, pixels in _batches(views, missing, num_workers, skip_corrupt):
            features = self._features(pixels.flatten(0, 1))
            layout = FeatureLayout.of(features)
            if not progress.done:
                self._check_room(store, len(missing), len(views.views), layout)
                store.describe(dict(layout=layout._asdict(), views=views.describe()))
            records = layout.encode(features).unflatten(0, pixels.shape[:2])
            kept += zip(digests, records.cpu().numpy(), strict=True)
            progress.add(len(digests))
            if len(kept) * records[0].numel() >= SHARD_BYTES:
                _keep(store, kept)
                kept = []
        if kept:
            _keep(store, kept)
        seconds = time.monotonic() - start
        self.say(f"Feature cache: {progress.done} images in {seconds:.0f} s.")

    @torch.no_grad()
    def _features(self, pixels: Tensor) -> ImageFeatures:
        inputs = self.images(dict(inputs=pixels), False)["inputs"]
        features = self.model.backbone.frozen_features(inputs)
        return features if self.kind == "map" else features._replace(map=None)

    def _check_room(
        self, store: FeatureStore, num_images: int, num_views: int, layout
    ) -> None:
        need, free = num_images * num_views * layout.num_bytes, store.free_bytes
        self.say(
            f"Feature cache {store.folder}: {num_images} images in {num_views} views "
            f"take {_megabytes(need)}; {_megabytes(free)} are free."
        )
        if need > free:
            raise OSError(
                f"The feature cache needs {_megabytes(need)}, but the disk of "
                f"{store.root} has {_megabytes(free)} left: make room, name another "
                "folder, or take fewer views."
            )


class _Progress:
    """Says now and then how far a pass is."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self.done, self._total, self._say = 0, total, say
        self._start = self._said = time.monotonic()

    def add(self, number: int) -> None:
        self.done += number
        now = time.monotonic()
        if now - self._said >= _SAY_EVERY:
            self._said = now
            left = (now - self._start) * (self._total / self.done - 1)
            self._say(
                f"Feature cache: {self.done} of {self._total} images, about "
                f"{left:.0f} s left."
            )


class _Images(Dataset):
    """Pixels of all views of images, or why there are none."""

    def __init__(self, views: FixedViews, missing: dict[str, str]) -> None:
        self.views, self.images = views, list(missing.items())

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[str, Tensor | CorruptImageError]:
        digest, path = self.images[index]
        try:
            views = self.views.apply(path)
        except CorruptImageError as error:
            return digest, error
        shapes = {view.shape for view in views}
        if len(shapes) > 1 or len(views[0].shape) != 3:
            raise ValueError(
                f"The views of {path} have the shapes {sorted(shapes)}; a feature "
                "cache needs colour images, all of one size: end the views with a crop."
            )
        pixels = np.ascontiguousarray(np.stack(views).transpose(0, 3, 1, 2))
        return digest, torch.from_numpy(pixels)


def _batches(
    views: FixedViews, missing: dict[str, str], num_workers: int, skip_corrupt: bool
) -> Iterator[tuple[list[str], Tensor]]:
    """Digests of n images, and their pixels, (n, V, 3, H, W)."""
    loader = DataLoader(
        _Images(views, missing),
        batch_size=max(1, _BATCH_SIZE // len(views.views)),
        num_workers=num_workers,
        collate_fn=list,
        generator=torch.Generator(),  # the run's random numbers stay as they are
    )
    for batch in loader:
        for _, found in batch:
            if isinstance(found, CorruptImageError) and not skip_corrupt:
                raise found
        good = [each for each in batch if isinstance(each[1], Tensor)]
        if good:
            digests, pixels = zip(*good, strict=True)
            yield list(digests), torch.stack(pixels)


def _keep(store: FeatureStore, kept: list[tuple[str, np.ndarray]]) -> None:
    digests, records = zip(*kept, strict=True)
    store.add(digests, np.stack(records))


def _megabytes(number: int) -> str:
    return f"{number / 1e6:,.1f} MB"
