"""A pipeline as a fixed number of views, and on their features."""

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mmcv.transforms import BaseTransform, LoadImageFromFile, TestTimeAug
from mmengine.dataset import Compose
from mmpretrain.datasets.transforms import PackInputs
from mmpretrain.registry import TRANSFORMS

from .transforms import FastResizeEdge, FixedCrop, LoadCachedFeatures
from .transforms.fixed_crop import POSITIONS


class FixedViews(NamedTuple):
    """The views that a pipeline takes of an image.

    Attributes:
        views: Transforms of each view, from the file to the pixels.
        cached: Makes the pipeline that reads the views from a cache's folder.
    """

    views: list[list[BaseTransform]]
    cached: Callable[[str], Compose]

    def apply(self, img_path: str) -> list:
        """Pixels of all views, (H, W, 3) each."""
        return _apply(dict(img_path=img_path), self.views)

    def describe(self) -> list[list[str]]:
        """What the pixels of each view depend on."""
        return [[_describe(transform) for transform in view] for view in self.views]


def views_for_training(
    pipeline: Compose, views: Sequence[int | list[dict]], crop_size: int
) -> FixedViews:
    """Fixed views in place of a training pipeline's random ones.

    Args:
        pipeline: Of the training set. What stands before its loader is kept.
        views: Lengths of the image's short edge: at the crop's own length there is one
            view, the centre, at a longer one there are five, centre and corners. In
            place of a length a list of transforms that follow the loader: one view.
        crop_size: Height and width of the views in pixels.

    Returns:
        The views; the pipeline from the cache draws one at random.

    Raises:
        ValueError: ``views`` are none or smaller than the crop, or the pipeline does
            not load images first and pack them last.
    """
    transforms = list(pipeline.transforms)
    loaders = [i for i, t in enumerate(transforms) if isinstance(t, LoadImageFromFile)]
    if not loaders or not isinstance(transforms[-1], PackInputs):
        raise ValueError(_wrong_pipeline(transforms))
    load, pack = transforms[: loaders[0] + 1], transforms[-1]
    after = [one for view in views for one in _views_of(view, crop_size)]
    if not after:
        raise ValueError("views of the feature cache are none: name at least one.")

    def cached(folder: str) -> Compose:
        return Compose([LoadCachedFeatures(folder, range(len(after))), pack])

    return FixedViews([[*load, *each] for each in after], cached)


def views_for_testing(pipeline: Compose) -> FixedViews:
    """The view, or the views of a ``TestTimeAug``, that a test pipeline takes.

    Args:
        pipeline: Of a test set.

    Raises:
        ValueError: The pipeline does not load images first and pack them last, or
            takes them at random.
    """
    transforms = list(pipeline.transforms)
    *before, last = transforms
    if isinstance(last, TestTimeAug):
        ways = [list(way.transforms) for way in last.subroutines]
    else:
        before, ways = [], [transforms]
    views, packs = [[*before, *way[:-1]] for way in ways], [way[-1] for way in ways]
    loads = all(any(isinstance(t, LoadImageFromFile) for t in view) for view in views)
    if not loads or not all(isinstance(pack, PackInputs) for pack in packs):
        raise ValueError(_wrong_pipeline(transforms))
    random = [type(t).__name__ for v in views for t in v if "Random" in str(type(t))]
    if random:
        raise ValueError(
            f"The test pipeline has {random[0]}, of which a feature cache would keep "
            "one drawing: use fixed crops, or test without the cache."
        )

    def cached(folder: str) -> Compose:
        ways = [
            Compose([LoadCachedFeatures(folder, [view]), pack])
            for view, pack in enumerate(packs)
        ]
        if not isinstance(last, TestTimeAug):
            return ways[0]
        together = copy.copy(last)
        together.subroutines = ways
        return Compose([together])

    return FixedViews(views, cached)


def _views_of(view: int | list[dict], crop_size: int) -> list[list[BaseTransform]]:
    if not isinstance(view, int):
        return [[TRANSFORMS.build(config) for config in view]]
    if view < crop_size:
        raise ValueError(
            f"views of the feature cache: a short edge of {view} pixels is smaller "
            f"than the crop of {crop_size}; name lengths from {crop_size} on."
        )
    positions = ("center",) if view == crop_size else POSITIONS
    resize = FastResizeEdge(view)
    return [[resize, FixedCrop(crop_size, position)] for position in positions]


def _apply(results: dict, views: list[list[BaseTransform]]) -> list:
    """Run what several views begin with once."""
    pixels: list = [None] * len(views)
    branches: dict[int, list[int]] = {}
    for index, view in enumerate(views):
        if view:
            branches.setdefault(id(view[0]), []).append(index)
        else:
            pixels[index] = results["img"]
    for members in branches.values():
        done = views[members[0]][0](dict(results))
        inner = _apply(done, [views[index][1:] for index in members])
        for index, found in zip(members, inner, strict=True):
            pixels[index] = found
    return pixels


def _describe(transform: BaseTransform) -> str:
    kind = type(transform)
    return f"{kind.__module__}.{kind.__qualname__} {sorted(vars(transform).items())}"


def _wrong_pipeline(transforms: list) -> str:
    names = [type(transform).__name__ for transform in transforms]
    return (
        "A feature cache needs a pipeline that loads an image from a file first "
        f"(LoadImage) and packs it last (PackInputs), got {names}."
    )
