"""Resizing with PyTorch's antialiased kernels, which need no copy to Pillow."""

import numpy as np
import torch
from torch.nn.functional import interpolate

INTERPOLATIONS = ("bicubic", "bilinear")


def check_interpolation(interpolation: str) -> None:
    """Raise ``ValueError`` unless :func:`resize` knows it."""
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation={interpolation!r}: expected one of {INTERPOLATIONS} (the "
            "transforms of MMPretrain have more)."
        )


def resize(
    img: np.ndarray, size: tuple[int, int], interpolation: str = "bicubic"
) -> np.ndarray:
    """Resize an image as Pillow does, with filters as wide as the reduction asks for.

    The weights are Pillow's; PyTorch rounds those of uint8 images to 16 bits, so that
    single pixels differ by a few of 255 levels, all together by 0.01 on average.

    Args:
        img (np.ndarray): (H, W) or (H, W, channels), uint8 or float.
        size (tuple[int, int]): (height, width) to resize to, in pixels.
        interpolation (str): 'bicubic' or 'bilinear'. Defaults to 'bicubic'.

    Returns:
        np.ndarray: (height, width) or (height, width, channels), of the same type;
        memory may be laid out channel by channel.
    """
    # An image that was flipped has a negative stride, which PyTorch refuses.
    pixels = torch.from_numpy(np.ascontiguousarray(img))
    pixels = pixels.view(*img.shape[:2], -1).permute(2, 0, 1)  # HWC -> CHW
    resized = interpolate(pixels[None], size, mode=interpolation, antialias=True)[0]
    return resized.permute(1, 2, 0).reshape(*size, *img.shape[2:]).numpy()
