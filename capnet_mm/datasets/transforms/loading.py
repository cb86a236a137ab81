"""Loading images, and noticing those that are broken."""

import io

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.fileio import get
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageOps

_COLOR_TYPES = (
    "color",
    "color_ignore_orientation",
    "grayscale",
    "grayscale_ignore_orientation",
    "unchanged",
)
_ORIENTATION = 0x0112  # EXIF tag
_SIDEWAYS = (5, 6, 7, 8)  # its values that swap width and height


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

    With ``min_edge`` a JPEG in colour is decoded at 1/2, 1/4 or 1/8 of its size, the
    smallest at which its short edge has ``min_edge`` pixels or more; smaller images
    and all other files are loaded at full size. JPEG stores frequencies of 8 x 8
    pixels, and the decoder then leaves out the high ones, which saves their transform
    and most of the memory. An image that is resized afterwards changes little if
    ``min_edge`` leaves the resizing a factor of 2: by 0.6 to 1.2 of 255 grey levels on
    average, measured on photographs. For a random crop the factor is smaller: a crop
    with a share s of the area, with sides of 3:4 to 4:3, has sides of at least
    ``sqrt(0.75 s)`` of the short edge, so that 448 and s = 0.5 leave 274 pixels.

    Pixels that are there already, as ``img`` without ``img_path``, are passed on:
    MMPretrain's inferencers load images themselves and leave out only a transform
    that is named ``LoadImageFromFile``.

    **Required Keys:**

    - img_path (or img)

    **Added Keys:**

    - img
    - img_shape
    - ori_shape (shape in the file, also where the image was decoded smaller)

    Args:
        to_float32 (bool): Whether to convert the image to float32. Defaults to
            False: uint8.
        color_type (str): MMCV's name of the mode: 'color', 'grayscale' (these two turn
            the image upright), 'color_ignore_orientation',
            'grayscale_ignore_orientation' or 'unchanged'. Defaults to 'color'.
        backend_args (dict, optional): Arguments of MMEngine's file backend. Defaults to
            None.
        min_edge (int, optional): Pixels that the short edge keeps, if it has as many.
            Defaults to None: every image at its full size.

    Raises:
        CorruptImageError: The file cannot be decoded; the message names the file. The
            error is a ``ValueError``. A missing file raises the error of MMEngine's
            file backend (``FileNotFoundError``).
    """

    def __init__(
        self,
        to_float32: bool = False,
        color_type: str = "color",
        backend_args: dict | None = None,
        min_edge: int | None = None,
    ) -> None:
        if min_edge is not None and min_edge < 1:
            raise ValueError(
                f"min_edge={min_edge!r}: expected a positive number of pixels, or None "
                "for images at full size."
            )
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
        self.min_edge = min_edge

    def transform(self, results: dict) -> dict:
        """Load the image.

        Args:
            results (dict): Sample with ``img_path``.

        Returns:
            dict: ``results``, with ``img``, (H, W, 3) or (H, W), ``img_shape`` and
            ``ori_shape``, (H, W).
        """
        if "img_path" not in results and "img" in results:
            return self._pass_on(results)
        img_path = results["img_path"]
        content = get(img_path, backend_args=self.backend_args)
        try:
            if not _is_complete(content):
                raise OSError("the JPEG ends without its end marker")
            img, ori_shape = self._decode(content)
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
        if self.to_float32:
            img = img.astype(np.float32)

        results["img"] = img
        results["img_shape"] = img.shape[:2]
        results["ori_shape"] = ori_shape
        return results

    def _pass_on(self, results: dict) -> dict:
        """Complete what is known of pixels that were loaded already."""
        img = results["img"]
        results["img"] = img.astype(np.float32) if self.to_float32 else img
        results.setdefault("img_shape", img.shape[:2])
        results.setdefault("ori_shape", img.shape[:2])
        return results

    def _decode(self, content: bytes) -> tuple[np.ndarray, tuple[int, int]]:
        """Pixels, and height and width of the whole image."""
        with Image.open(io.BytesIO(content)) as image:
            if image.format == "EPS":
                raise OSError("EPS is a program, which Ghostscript would have to run")
            if image.mode == "RGB" and self.color_type.startswith("color"):
                return self._decode_color(image)
            _check_size(image)
        img = mmcv.imfrombytes(content, flag=self.color_type, backend="pillow")
        # Its BGR is a view of RGB with a negative stride, which torch.from_numpy
        # refuses.
        return np.ascontiguousarray(img), img.shape[:2]

    def _decode_color(self, image: Image.Image) -> tuple[np.ndarray, tuple[int, int]]:
        """What MMCV does with Pillow's RGB, without copies in between."""
        width, height = image.size
        if self.min_edge is not None:
            image.draft(None, (self.min_edge, self.min_edge))  # JPEG only
        _check_size(image)
        if self.color_type == "color":
            orientation = image.getexif().get(_ORIENTATION, 1)
            if orientation in _SIDEWAYS:
                width, height = height, width
            if orientation != 1:
                image = ImageOps.exif_transpose(image)
        # Pillow packs BGR as fast as RGB, while reversing numpy's RGB takes as long as
        # the decoding. Not with OpenCV, whose threads may hang after a fork.
        pixels = np.frombuffer(bytearray(image.tobytes("raw", "BGR")), dtype=np.uint8)
        return pixels.reshape(image.height, image.width, 3), (height, width)

    def __repr__(self) -> str:
        """Say what differs from MMCV's."""
        return (
            f"{self.__class__.__name__}(to_float32={self.to_float32}, "
            f"color_type='{self.color_type}', backend_args={self.backend_args}, "
            f"min_edge={self.min_edge})"
        )


def _check_size(image: Image.Image) -> None:
    """Refuse what a small file may be blown up to; Pillow warns, up to twice that."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError(
            f"{image.width:,} x {image.height:,} pixels are more than "
            f"PIL.Image.MAX_IMAGE_PIXELS = {limit:,}, maybe a decompression bomb"
        )


def _is_complete(content: bytes) -> bool:
    """Whether a JPEG has its end marker; True for whatever is no JPEG."""
    if not content.startswith(b"\xff\xd8"):
        return True
    # From segment to segment (marker, length, data) to the first scan of the image
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
