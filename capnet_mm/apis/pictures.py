"""From what users name to batches that a model takes."""

import glob
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import Compose, default_collate, pseudo_collate
from PIL import Image, ImageOps
from torch.utils.data import DataLoader, Dataset

from ..datasets.transforms import LoadImage

# Endings of the files that a folder is searched for.
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
Picture = str | os.PathLike | np.ndarray | Image.Image
# So many decode for one batch's forward pass at most.
_MAX_WORKERS = 4


def list_pictures(inputs: Picture | Iterable[Picture]) -> list | Iterator:
    """List what is to be looked at.

    Args:
        inputs: A file; a folder, whose pictures are found in subfolders too; a pattern
            with ``*``, ``?`` or ``[``; pixels; or several of these.

    Returns:
        Paths and pixels, sorted where a folder or pattern gives them; of a generator a
        generator.

    Raises:
        ValueError: A folder or a pattern gives no picture, or ``inputs`` is something
            else.
    """
    if isinstance(inputs, list | tuple):
        return [each for group in map(_expand, inputs) for each in group]
    if isinstance(inputs, Iterator):
        return (each for group in map(_expand, inputs) for each in group)
    return _expand(inputs)


def _expand(picture: Picture) -> list[Picture]:
    if isinstance(picture, np.ndarray | Image.Image):
        return [picture]
    if not isinstance(picture, str | os.PathLike):
        raise ValueError(
            f"{type(picture).__name__} is no picture: expected a path, a folder, a "
            "pattern, a numpy array, a PIL image, or a list of these."
        )
    path = os.path.expanduser(os.fspath(picture))
    if os.path.isdir(path):
        found = [
            os.path.join(folder, name)
            for folder, _, names in os.walk(path)
            for name in names
            if name.lower().endswith(SUFFIXES)
        ]
    elif glob.has_magic(path) and not os.path.exists(path):
        found = [name for name in glob.glob(path, recursive=True) if _is_file(name)]
    else:
        return [path]
    if not found:
        raise ValueError(f"{path} has no pictures (files that end in {SUFFIXES}).")
    return sorted(found)


def _is_file(name: str) -> bool:
    return os.path.isfile(name) and name.lower().endswith(SUFFIXES)


class Batch(NamedTuple):
    """Some pictures, ready for the model.

    Attributes:
        pictures: What the user named.
        groups: Indices into ``pictures`` and data of pictures of one size.
        errors: Index of each picture that could not be prepared, and why.
        tta: Whether there are several views of each.
    """

    pictures: list[Picture]
    groups: list[tuple[list[int], dict]]
    errors: dict[int, str]
    tta: bool


def load_batches(
    pictures: Iterable[Picture],
    steps: Compose,
    batch_size: int,
    rgb: bool = False,
    tta: bool = False,
    num_workers: int | None = None,
) -> Iterator[Batch]:
    """Decode and prepare pictures, a few batches ahead where workers do it.

    Args:
        pictures: Paths and pixels; a generator is read as batches are asked for.
        steps: The test pipeline.
        batch_size: Pictures in a batch.
        rgb: Whether arrays are RGB, not BGR as MMCV and OpenCV have them.
        tta: Whether ``steps`` make several views.
        num_workers: Processes that decode. None: as many as there are CPUs, up to 4,
            for a list of several batches of files, else none.

    Yields:
        Batches, in order.

    Raises:
        ValueError: ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    if num_workers is None:
        num_workers = _useful_workers(pictures, batch_size)
    waiting: deque[list[Picture]] = deque()

    def chunks() -> Iterator[list[Picture]]:
        remaining = iter(pictures)
        while chunk := list(islice(remaining, batch_size)):
            waiting.append(chunk)
            yield chunk

    # The pictures themselves take the place of indices, so that nothing as long as
    # the list is copied into workers.
    loader = DataLoader(
        _Prepared(steps, rgb),
        batch_sampler=chunks(),
        num_workers=num_workers,
        collate_fn=_collate_views if tta else _collate,
    )
    for groups, errors in loader:
        yield Batch(waiting.popleft(), groups, errors, tta)


def _useful_workers(pictures: Iterable[Picture], batch_size: int) -> int:
    is_long = isinstance(pictures, list) and len(pictures) > 2 * batch_size
    if not is_long or not all(isinstance(each, str) for each in pictures):
        return 0
    has_affinity = hasattr(os, "sched_getaffinity")
    cpus = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(cpus, _MAX_WORKERS) if cpus > 1 else 0


class _Prepared(Dataset):
    """Gives for a picture, in place of an index, what the pipeline makes of it."""

    def __init__(self, steps: Compose, rgb: bool) -> None:
        self.steps = steps
        self.rgb = rgb

    def __getitem__(self, picture: Picture) -> dict | Exception:
        try:
            if isinstance(picture, str):
                return self.steps(dict(img_path=picture))
            return self._without_loading(as_bgr(picture, self.rgb))
        except (OSError, ValueError) as error:
            return error

    def _without_loading(self, img: np.ndarray) -> dict:
        results = dict(img=img, img_shape=img.shape[:2], ori_shape=img.shape[:2])
        for step in self.steps.transforms:
            # Ours passes pixels on; MMCV's asks for a path.
            is_loading = isinstance(step, LoadImageFromFile)
            if not is_loading or isinstance(step, LoadImage):
                results = step(results)
        return results


def as_bgr(picture: np.ndarray | Image.Image, rgb: bool = False) -> np.ndarray:
    """Bring pixels into MMCV's order.

    Args:
        picture: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8, whose alpha is left
            out; or a PIL image, which is turned upright by its EXIF orientation.
        rgb: Whether an array is RGB.

    Returns:
        BGR, (H, W, 3) uint8.

    Raises:
        ValueError: An array of another shape or type.
        OSError: A PIL image that cannot be decoded to its end.
    """
    if isinstance(picture, Image.Image):
        picture = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        rgb = True
    shape = picture.shape
    is_image = picture.ndim == 2 or (picture.ndim == 3 and shape[2] in (1, 3, 4))
    if picture.dtype != np.uint8 or not is_image or 0 in shape:
        raise ValueError(
            f"An array of shape {shape} and type {picture.dtype} is no picture: "
            "expected uint8, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."
        )
    pixels = picture.reshape(*shape[:2], -1)[..., :3]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    # A copy: PyTorch warns of pixels that cannot be written to.
    return np.array(pixels[..., ::-1] if rgb else pixels, order="C")


def _collate(samples: Sequence[dict | Exception]) -> tuple[list, dict[int, str]]:
    return _group(samples, default_collate)


def _collate_views(samples: Sequence[dict | Exception]) -> tuple[list, dict[int, str]]:
    return _group(samples, pseudo_collate)


def _group(samples: Sequence[dict | Exception], collate) -> tuple[list, dict[int, str]]:
    """Put pictures of one size together: the preprocessor would pad others."""
    errors = {i: str(s) for i, s in enumerate(samples) if isinstance(s, Exception)}
    groups: dict[tuple, list[int]] = {}
    for index, sample in enumerate(samples):
        if index not in errors:
            views = sample["inputs"]
            views = views if isinstance(views, list) else [views]
            groups.setdefault(tuple(view.shape for view in views), []).append(index)
    return [(each, collate([samples[i] for i in each])) for each in groups.values()], (
        errors
    )
