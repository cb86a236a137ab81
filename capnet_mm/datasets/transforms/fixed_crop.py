"""A crop at a fixed place, for test-time ensembling."""

from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

POSITIONS = ("top_left", "top_right", "bottom_left", "bottom_right", "center")


@TRANSFORMS.register_module()
class FixedCrop(BaseTransform):
    """Crop a corner or the centre: the five positions are torchvision's five crops.

    **Required Keys:**

    - img

    **Modified Keys:**

    - img
    - img_shape

    Args:
        crop_size (int | tuple[int, int]): Height and width of the crop in pixels;
            one number means a square.
        position (str): 'top_left', 'top_right', 'bottom_left', 'bottom_right' or
            'center'. Defaults to 'center'.

    Examples:
        >>> # The five views of a TestTimeAug
        >>> views = [
        ...     [dict(type="ResizeEdge", scale=248, edge="short")],
        ...     [dict(type="FixedCrop", crop_size=224, position=p) for p in POSITIONS],
        ...     [dict(type="PackInputs")],
        ... ]
        >>> tta_pipeline = [
        ...     dict(type="LoadImage"), dict(type="TestTimeAug", transforms=views)
        ... ]
    """

    def __init__(
        self, crop_size: int | tuple[int, int], position: str = "center"
    ) -> None:
        if isinstance(crop_size, int):
            crop_size = (crop_size, crop_size)
        if len(crop_size) != 2 or min(crop_size) < 1:
            raise ValueError(
                f"crop_size={crop_size!r}: expected a positive number of pixels, or "
                "(height, width)."
            )
        if position not in POSITIONS:
            raise ValueError(
                f"position={position!r} is unknown: expected one of {POSITIONS}."
            )
        self.crop_size = tuple(crop_size)
        self.position = position

    def transform(self, results: dict) -> dict:
        """Crop the image.

        Args:
            results (dict): Sample with ``img``, (H, W, …).

        Returns:
            dict: ``results``, with the crop as ``img`` and its (height, width) as
            ``img_shape``.

        Raises:
            ValueError: The image is smaller than the crop.
        """
        height, width = results["img"].shape[:2]
        crop_height, crop_width = self.crop_size
        if crop_height > height or crop_width > width:
            raise ValueError(
                f"The image {results.get('img_path', '')} is {height} x {width} pixels "
                f"(height x width) here, smaller than the crop of {crop_height} x "
                f"{crop_width}: resize its short edge to at least the crop before "
                "(ResizeEdge)."
            )
        if self.position == "center":
            top = int(round((height - crop_height) / 2))
            left = int(round((width - crop_width) / 2))
        else:
            top = 0 if self.position.startswith("top") else height - crop_height
            left = 0 if self.position.endswith("left") else width - crop_width

        results["img"] = results["img"][
            top : top + crop_height, left : left + crop_width
        ]
        results["img_shape"] = results["img"].shape[:2]
        return results

    def __repr__(self) -> str:
        """Say size and position."""
        return (
            f"{self.__class__.__name__}(crop_size={self.crop_size}, "
            f"position='{self.position}')"
        )
