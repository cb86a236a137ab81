"""Loading images, and noticing those that are broken."""

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.fileio import get
from mmpretrain.registry import TRANSFORMS

_COLOR_TYPES = (
    "color",
    "color_ignore_orientation",
    "grayscale",
    "grayscale_ignore_orientation",
    "unchanged",
)


class CorruptImageError(ValueError):
    """An image file that is there but cannot be decoded to its end."""


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Load an image from its file; stop at one that is truncated or no image.

    MMCV's ``LoadImageFromFile`` decodes with OpenCV, which fills what is missing
    of a truncated JPEG with grey and says nothing. This one decodes with Pillow,
    which raises; the pixels are the same, in the same order (BGR, turned upright
    by the EXIF orientation). A JPEG without its end marker is refused too: where a
    copy was cut off, zeros may fill the file up to its size, and decode as grey. But
    JPEG has no checksum, so altered bytes that decode to something pass.

    **Required Keys:**

    - img_path

    **Added Keys:**

    - img
    - img_shape
    - ori_shape

    Args:
        to_float32 (bool): Whether to convert the image to float32. Defaults to
            False: uint8.
        color_type (str): As in MMCV: 'color', 'grayscale' (these two turn the image
            upright), 'color_ignore_orientation', 'grayscale_ignore_orientation' or
            'unchanged'. Defaults to 'color'.
        backend_args (dict, optional): Of the file backend. Defaults to None.

    Raises:
        CorruptImageError: The file cannot be decoded; the message names it. It is a
            ``ValueError``. A file that is not there raises as MMEngine's file
            backend does (``FileNotFoundError``).
    """

    def __init__(
        self,
        to_float32: bool = False,
        color_type: str = "color",
        backend_args: dict | None = None,
    ) -> None:
        if color_type not in _COLOR_TYPES:
            raise ValueError(
                f"color_type={color_type!r} is unknown: expected one of {_COLOR_TYPES}."
            )
        super().__init__(
            to_float32=to_float32,
            color_type=color_type,
            imdecode_backend="pillow",
            backend_args=backend_args,
        )

    def transform(self, results: dict) -> dict:
        """Load the image.

        Args:
            results (dict): With ``img_path``.

        Returns:
            dict: The same, with ``img``, (H, W, 3) or (H, W), ``img_shape`` and
            ``ori_shape``, (H, W).
        """
        img_path = results["img_path"]
        content = get(img_path, backend_args=self.backend_args)
        try:
            if not _is_complete(content):
                raise OSError("the JPEG ends without its end marker")
            img = mmcv.imfrombytes(content, flag=self.color_type, backend="pillow")
        except MemoryError:
            raise
        except Exception as error:
            # Pillow's plugins raise whatever comes: OSError, SyntaxError,
            # struct.error … Nothing but decoding stands in the `try`.
            raise CorruptImageError(
                f"Cannot decode the image {img_path} ({len(content)} bytes): {error}. "
                "The file is truncated, damaged, or not an image. Replace it or "
                "take it off the list; with corrupt_images='skip', an "
                "ImageListDataset trains without it."
            ) from error
        # BGR from Pillow is a view of RGB with a negative stride, which
        # torch.from_numpy refuses.
        img = np.ascontiguousarray(img)
        if self.to_float32:
            img = img.astype(np.float32)

        results["img"] = img
        results["img_shape"] = img.shape[:2]
        results["ori_shape"] = img.shape[:2]
        return results


def _is_complete(content: bytes) -> bool:
    """Whether a JPEG has its end marker; True for whatever is no JPEG."""
    if not content.startswith(b"\xff\xd8"):
        return True
    # From segment to segment (marker, length, data) to the first scan of the picture
    # itself: a thumbnail inside a segment has an end marker of its own.
    position = 2
    while content[position : position + 1] == b"\xff":
        marker = content[position + 1 : position + 2]
        if marker == b"\xda":
            # In the scan no other 0xFF is followed by 0xD9.
            return content.find(b"\xff\xd9", position) >= 0
        if marker == b"\xff":  # a fill byte
            position += 1
        else:
            length = int.from_bytes(content[position + 2 : position + 4], "big")
            position += 2 + length
    return True  # something else is wrong: the decoder will say what
