"""MMPretrain's resizing to the length of an edge, faster."""

from mmpretrain.datasets.transforms import ResizeEdge
from mmpretrain.registry import TRANSFORMS

from .resize import check_interpolation, resize


@TRANSFORMS.register_module()
class FastResizeEdge(ResizeEdge):
    """MMPretrain's ``ResizeEdge`` with another backend for the resizing.

    It gives the pixels of ``backend='pillow'`` up to rounding (see
    :func:`~capnet_mm.datasets.transforms.resize.resize`), in a fraction of the time.

    **Required Keys:**

    - img

    **Modified Keys:**

    - img
    - img_shape

    **Added Keys:**

    - scale
    - scale_factor

    Args:
        scale (int): Length of the edge in pixels.
        edge (str): Name of the edge: 'short', 'long', 'width' or 'height'. Defaults to
            'short'.
        interpolation (str): 'bicubic' or 'bilinear'. Defaults to 'bicubic'.

    Examples:
        >>> dict(type="FastResizeEdge", scale=224)
    """

    def __init__(
        self, scale: int, edge: str = "short", interpolation: str = "bicubic"
    ) -> None:
        check_interpolation(interpolation)
        super().__init__(scale, edge, backend="torch", interpolation=interpolation)

    def _resize_img(self, results: dict) -> None:
        """Resize ``img`` to ``scale``, (width, height)."""
        height, width = results["img"].shape[:2]
        new_width, new_height = results["scale"]
        results["img"] = resize(
            results["img"], (new_height, new_width), self.interpolation
        )
        results["img_shape"] = (new_height, new_width)
        results["scale_factor"] = (new_width / width, new_height / height)
