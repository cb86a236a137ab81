"""The figure of where a model sees the classes that it predicts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from .sheet_figure import SheetImage, SheetLabel, prediction_sheet

_COLORS = colormaps["inferno"]
_OPACITY = 0.75  # of the strongest place


@dataclass(frozen=True)
class MappedImage:
    """An image of :func:`class_map_sheet`.

    Attributes:
        pixels: (H, W, 3) RGB, uint8.
        maps: A label, and (h, w) how much each place counts for it, of any scale.
            Equally many for every image.
    """

    pixels: np.ndarray
    maps: Sequence[tuple[SheetLabel, np.ndarray]]


def class_map_sheet(images: Sequence[MappedImage], theme: str = "light") -> Figure:
    """Draw images, each with its class activation maps beside it.

    Args:
        images: Images to draw, one a row.
        theme: 'light' or 'dark'.

    Returns:
        The figure.

    Raises:
        ValueError: There is no image, or no such theme.
    """
    sheet = []
    for image in images:
        sheet.append(SheetImage(image.pixels, []))
        for label, heat in image.maps:
            sheet.append(SheetImage(with_heat(image.pixels, heat), [label]))
    columns = 1 + max((len(image.maps) for image in images), default=0)
    return prediction_sheet(sheet, theme, columns)


def with_heat(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay a map over an image, whose colours are taken off.

    Args:
        pixels: (H, W, 3) RGB, uint8.
        heat: (h, w), not negative. The colours go from 0 to its maximum.

    Returns:
        (H, W, 3) RGB, uint8.
    """
    size = pixels.shape[1::-1]
    heat = Image.fromarray(heat.astype(np.float32)).resize(size, Image.BILINEAR)
    heat = np.asarray(heat) / max(np.max(heat), np.finfo(np.float32).tiny)
    gray = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)[..., None]
    share = _OPACITY * heat[..., None]
    mixed = (1 - share) * gray + share * 255 * _COLORS(heat)[..., :3]
    return mixed.clip(0, 255).astype(np.uint8)
