"""Images per second of the training pipeline, against a plain one of torchvision.

All variants load the same files and cut the same crops out of them. The torchvision
one is what a script on top of ``ImageFolder`` does: decode with Pillow, random
resized crop, flip, ``ToTensor``. MMPretrain's is its own transforms.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from .measure import Measurement, device_name, interleave, paired_ratio

CONFIG = Path(__file__).resolve().parents[2] / "configs/_base_/datasets/common.py"
# (width, height): as in PASCAL VOC, and as cameras make them.
SIZES = ((500, 375), (2000, 1500), (4000, 3000))
SPEED_UP = 1.3
QUALITY = 92  # of the JPEGs; cameras take 90 to 95
NOISE = 4.0  # standard deviation in grey levels, as of a sensor
GRID = 8  # pixels: crops on it exist at every size that a JPEG is decoded at


class CroppedImage(NamedTuple):
    """An image file and the crop that is cut out of it.

    Args:
        path (str): The file.
        width (int): Width of the file's image, in pixels.
        crop (tuple[int, int, int, int]): Top, left, height and width in pixels of
            the file.
        flip (bool): Whether the crop is mirrored.
    """

    path: str
    width: int
    crop: tuple[int, int, int, int]
    flip: bool


View = Callable[[CroppedImage], torch.Tensor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument(
        "--data-root", help="folder with JPEGs; default: random textures are drawn"
    )
    parser.add_argument(
        "--config", default=str(CONFIG), help="file with the train_pipeline to measure"
    )
    parser.add_argument(
        "--images",
        type=int,
        default=32,
        help="number of the smallest size, fewer of others",
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="workers of the data loader"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of images and crops")


def run(args: argparse.Namespace) -> list[Measurement]:
    """Measure.

    Args:
        args (argparse.Namespace): Options of :func:`add_arguments`, and ``rounds``.

    Returns:
        list[Measurement]: Two for every size of image, one in this process and one
        through a data loader.

    Raises:
        FileNotFoundError: ``--data-root`` has no JPEG.
        ValueError: The config's training pipeline has no random resized crop.
    """
    init_default_scope("mmpretrain")
    steps = _training_steps(args.config)
    rows = []
    threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)  # as in a worker of a data loader
    cv2.setNumThreads(0)  # as in MMEngine's: its threads may hang after a fork
    try:
        with tempfile.TemporaryDirectory(prefix="capnet_mm_") as folder:
            for name, paths in _images(args, Path(folder)):
                rng = np.random.default_rng(args.seed)
                images = [_draw(path, rng) for path in paths]
                rows += _measure(name, images, steps, args)
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv2_threads)
    return rows


def _measure(
    name: str,
    images: Sequence[CroppedImage],
    steps: list[dict],
    args: argparse.Namespace,
) -> list[Measurement]:
    ours = mmpretrain_view(steps)
    scale = tuple(ours(images[0]).shape[1:])
    views = {
        "ours": ours,
        "torchvision": partial(torchvision_view, scale=scale),
        "MMPretrain": mmpretrain_view(_plain_steps(scale)),
    }
    largest, mean = _difference(views["ours"], views["torchvision"], images)
    note = f"mean difference {mean:.2f} of 255"
    loops = {key: partial(_load_all, view, images) for key, view in views.items()}
    rows = [_row(f"{name}, one process", loops, len(images), args, largest, note)]
    if args.workers:
        loaders = {
            key: DataLoader(
                _Views(view, images),
                # Two batches or more for every worker.
                batch_size=max(1, min(8, len(images) // (2 * args.workers))),
                num_workers=args.workers,
                persistent_workers=True,  # they start in the warm-up
                multiprocessing_context="fork",
            )
            for key, view in views.items()
        }
        loops = {key: partial(list, loader) for key, loader in loaders.items()}
        what = f"{name}, {args.workers} workers"
        rows.append(_row(what, loops, len(images), args, largest, note))
    return rows


def _row(
    what: str,
    loops: dict[str, Callable[[], object]],
    number: int,
    args: argparse.Namespace,
    largest: float,
    note: str,
) -> Measurement:
    timings = interleave(loops, args.rounds)
    ratio = paired_ratio(timings["torchvision"], timings["ours"]).median
    speeds = ", ".join(
        f"{key} {number / timing.median:,.0f}" for key, timing in timings.items()
    )
    return Measurement(
        what=what,
        device=device_name("cpu"),
        timings=timings,
        figure=f"{ratio:.2f}× torchvision; images/s: {speeds}",
        target=f"{SPEED_UP}×",
        met=ratio >= SPEED_UP,
        max_difference=largest,
        note=note,
    )


def mmpretrain_view(steps: Sequence[dict]) -> View:
    """Build a pipeline of MMPretrain's kind that takes its crop from the image.

    Args:
        steps (Sequence[dict]): Configs of the transforms.

    Returns:
        View: From an image to (3, height, width), uint8, BGR.

    Raises:
        ValueError: None of them is a random resized crop.
    """
    pipelines = {
        flip: Compose([_with_flip(step, flip) for step in steps])
        for flip in (False, True)
    }

    def view(image: CroppedImage) -> torch.Tensor:
        pipeline = pipelines[image.flip]
        _crop_of(pipeline).rand_crop_params = partial(_crop_params, image)
        return pipeline({"img_path": image.path, "gt_label": [0]})["inputs"]

    _crop_of(pipelines[False])
    return view


def torchvision_view(image: CroppedImage, scale: tuple[int, int]) -> torch.Tensor:
    """Apply torchvision's transforms, with the crop of the image.

    Args:
        image (CroppedImage): The image.
        scale (tuple[int, int]): Height and width of the result.

    Returns:
        torch.Tensor: (3, height, width), float from 0 to 1, RGB.
    """
    with open(image.path, "rb") as file:
        img = Image.open(file).convert("RGB")
    img = F.resized_crop(img, *image.crop, scale, InterpolationMode.BICUBIC)
    return F.to_tensor(F.hflip(img) if image.flip else img)


class _Views(Dataset):
    def __init__(self, view: View, images: Sequence[CroppedImage]) -> None:
        self.view = view
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.view(self.images[index])


def _load_all(view: View, images: Sequence[CroppedImage]) -> None:
    for image in images:
        view(image)


def _difference(
    ours: View, theirs: View, images: Sequence[CroppedImage]
) -> tuple[float, float]:
    """Largest and mean difference in grey levels."""
    differences = [
        (ours(image).flip(0).float() - 255 * theirs(image)).abs()  # BGR -> RGB
        for image in images
    ]
    largest = max(each.max().item() for each in differences)
    return round(largest, 3), float(np.mean([each.mean() for each in differences]))


def _training_steps(config: str) -> list[dict]:
    cfg = Config.fromfile(config)
    steps = cfg.get("train_pipeline")
    if steps is None:
        raise ValueError(f"{config} has no train_pipeline: give a config that has.")
    return [dict(step) for step in steps]


def _plain_steps(scale: tuple[int, int]) -> list[dict]:
    return [
        dict(type="LoadImageFromFile"),
        dict(
            type="RandomResizedCrop",
            scale=scale,
            backend="pillow",
            interpolation="bicubic",
        ),
        dict(type="RandomFlip", prob=0.5, direction="horizontal"),
        dict(type="PackInputs"),
    ]


def _with_flip(step: dict, flip: bool) -> dict:
    return {**step, "prob": float(flip)} if step["type"] == "RandomFlip" else step


def _crop_of(pipeline: Compose):
    for transform in pipeline.transforms:
        if hasattr(transform, "rand_crop_params"):
            return transform
    raise ValueError(
        f"The training pipeline has no RandomResizedCrop or FastRandomResizedCrop, "
        f"whose crops could be given: {pipeline}"
    )


def _crop_params(image: CroppedImage, img: np.ndarray) -> tuple[int, ...]:
    reduction = round(image.width / img.shape[1])  # as LoadImage decoded it
    return tuple(value // reduction for value in image.crop)


def _draw(path: str, rng: np.random.Generator) -> CroppedImage:
    """Draw a crop of half the area or more, and whether to flip."""
    with Image.open(path) as image:
        width, height = image.size
    while True:
        area = rng.uniform(0.5, 1) * width * height
        ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        crop_width = int(np.sqrt(area * ratio)) // GRID * GRID
        crop_height = int(np.sqrt(area / ratio)) // GRID * GRID
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers((height - crop_height) // GRID + 1)) * GRID
            left = int(rng.integers((width - crop_width) // GRID + 1)) * GRID
            crop = (top, left, crop_height, crop_width)
            return CroppedImage(path, width, crop, bool(rng.integers(2)))


def _images(args: argparse.Namespace, folder: Path):
    """Names and files of all kinds of images."""
    originals: list[str] = []
    if args.data_root is not None:
        originals = _find_jpegs(Path(args.data_root).expanduser(), args)
        with Image.open(originals[0]) as image:
            size = "about {} x {}".format(*image.size)
        yield f"{len(originals)} JPEGs as they are, {size}", originals
    for width, height in SIZES:
        number = round(args.images * SIZES[0][0] * SIZES[0][1] / (width * height))
        paths = []
        for index in range(max(min(4, args.images), number)):
            rng = np.random.default_rng((args.seed, index))
            if originals:
                original = Image.open(originals[index % len(originals)])
                resized = original.resize((width, height), Image.Resampling.BICUBIC)
                pixels = np.asarray(resized, dtype=np.float32)
            else:
                pixels = _texture(width, height, rng)
            noise = rng.standard_normal((height, width, 1), dtype=np.float32)
            pixels = (pixels + NOISE * noise).clip(0, 255).astype(np.uint8)
            paths.append(str(folder / f"{width}x{height}_{index}.jpg"))
            Image.fromarray(pixels).save(paths[-1], quality=QUALITY)
        yield f"{len(paths)} JPEGs of {width} x {height}", paths


def _find_jpegs(root: Path, args: argparse.Namespace) -> list[str]:
    """JPEGs in colour that need not be turned, which plain torchvision does not."""
    found = []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg"):
            with Image.open(path) as image:
                if image.mode == "RGB" and image.getexif().get(0x0112, 1) == 1:
                    found.append(str(path))
        if len(found) == args.images:
            break
    if not found:
        raise FileNotFoundError(
            f"There is no JPEG in colour in {root}: give --data-root a folder with "
            "images, or leave it out."
        )
    return found


def _texture(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of all scales, as strong at each as photographs are, (H, W, 3)."""
    pixels = np.full((height, width, 3), 128, dtype=np.float32)
    for octave in range(1, 8):
        size = (height >> octave) + 1, (width >> octave) + 1, 3
        coarse = rng.standard_normal(size, dtype=np.float32) * 12
        pixels += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return pixels
