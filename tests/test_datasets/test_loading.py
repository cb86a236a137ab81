"""LoadImage."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from capnet_mm.datasets import CorruptImageError, LoadImage

from .conftest import encoded, photo


def exif_with_thumbnail():
    """EXIF data that hold a whole JPEG of their own, end marker and all."""
    exif = Image.Exif()
    exif[0x010E] = encoded(photo(20, 30))
    return exif


def load(path, transform=None):
    return (transform or LoadImage())({"img_path": str(path)})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_equal_mmcvs_at_every_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(photo(), exif=exif))
    ours, theirs = load(path), load(path, LoadImageFromFile())
    assert ours["img"].dtype == np.uint8 and ours["img"].flags.c_contiguous
    # Both decode with libjpeg-turbo; its versions may round differently.
    difference = ours["img"].astype(int) - theirs["img"].astype(int)
    assert abs(difference).max() <= 1
    assert ours["img_shape"] == theirs["img_shape"]
    assert ours["ori_shape"] == ((90, 60) if orientation > 4 else (60, 90))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_every_kind_of_png_becomes_three_channels_bgr(tmp_path, mode):
    path = tmp_path / "image.png"
    image = photo().convert(mode)
    path.write_bytes(encoded(image, "PNG"))
    rgb = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(load(path)["img"], rgb[:, :, ::-1])


@pytest.mark.parametrize("options", [{}, dict(progressive=True), dict(optimize=True)])
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.7, 0.99])
def test_truncated_jpeg_is_an_error_that_names_it(tmp_path, options, keep):
    content = encoded(photo(200, 300), **options)
    path = tmp_path / "broken.jpg"
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(CorruptImageError, match="Cannot decode .*broken.jpg"):
        load(path)


def test_opencv_would_have_let_the_truncated_jpeg_pass(tmp_path):
    # Why LoadImage is there at all: if this fails, OpenCV has learned to notice.
    content = encoded(photo(200, 300))
    path = tmp_path / "broken.jpg"
    path.write_bytes(content[: len(content) // 2])
    img = cv2.imread(str(path))
    assert img.shape == (200, 300, 3) and (img[-20:] == img[-1, -1]).all()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404 not found</html>",
        encoded(photo())[:-2],
        encoded(photo(200, 300))[:5000] + bytes(20000),
        encoded(photo(), exif=exif_with_thumbnail())[:-800] + bytes(20000),
        encoded(photo(), "PNG")[:3000],
        b"\xff\xd8\xff",
        b"\xff\xd8" + b"\xff" * 50,
    ],
    ids=["empty", "html", "no end", "zeros", "thumbnail", "png", "head", "fill"],
)
def test_files_that_are_no_whole_image_are_named(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(CorruptImageError, match="broken.jpg"):
        load(path)


def test_a_missing_file_is_not_a_corrupt_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.jpg"):
        load(tmp_path / "gone.jpg")


def test_float_and_grey_images_on_request(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(photo()))
    grey = load(path, LoadImage(color_type="grayscale", to_float32=True))["img"]
    assert grey.dtype == np.float32 and grey.shape == (60, 90)
    with pytest.raises(ValueError, match="color_type='colour' is unknown"):
        LoadImage(color_type="colour")


@pytest.mark.parametrize(
    "content",
    [
        encoded(photo(), exif=exif_with_thumbnail()),
        encoded(photo(), progressive=True, comment=b"\xff\xd9\xff\xda"),
        encoded(photo()).replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1),
        # What phones append to an image: the second of a film.
        encoded(photo()) + b"ftypmp42" + b"\xff\xda" * 100,
    ],
    ids=["thumbnail", "comment", "fill bytes", "appended"],
)
def test_unusual_but_whole_jpegs_load(tmp_path, content):
    path = tmp_path / "whole.jpg"
    path.write_bytes(content)
    assert abs(load(path)["img"].astype(int) - cv2.imread(str(path))).max() <= 1


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [("L", "JPEG"), ("CMYK", "JPEG"), ("LA", "PNG"), ("I;16", "PNG"), ("P", "GIF")],
)
def test_rare_kinds_of_images_load_as_with_mmcvs_pillow(tmp_path, mode, file_format):
    image = photo()
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 2)
    elif mode != "RGB":
        image = image.convert(mode)
    path = tmp_path / "image"
    path.write_bytes(encoded(image, file_format))
    theirs = load(path, LoadImageFromFile(imdecode_backend="pillow"))
    for min_edge in (None, 10):  # which is for JPEGs in colour alone
        ours = load(path, LoadImage(min_edge=min_edge))
        np.testing.assert_array_equal(ours["img"], theirs["img"])
        assert ours["ori_shape"] == (60, 90)


@pytest.mark.parametrize(
    ("min_edge", "factor"),
    [(201, 1), (101, 1), (100, 2), (51, 2), (50, 4), (26, 4), (25, 8), (1, 8)],
)
@pytest.mark.parametrize("size", [(200, 303), (303, 200)])
def test_short_edge_keeps_min_edge_pixels_at_the_least(
    tmp_path, size, min_edge, factor
):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(photo(*size)))
    results = load(path, LoadImage(min_edge=min_edge))
    height, width = (-(-edge // factor) for edge in size)
    assert results["img"].shape == (height, width, 3)
    assert results["img_shape"] == (height, width)
    assert results["ori_shape"] == size
    if factor == 1:
        np.testing.assert_array_equal(results["img"], load(path)["img"])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reduced_pixels_are_means_of_the_full_ones(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    y, x = np.mgrid[:160, :240]
    smooth = np.stack([x, y, (x + y) / 2], -1).astype(np.uint8)
    path = tmp_path / "photo.jpg"
    content = encoded(Image.fromarray(smooth), exif=exif, quality=95, subsampling=0)
    path.write_bytes(content)
    full, reduced = load(path), load(path, LoadImage(min_edge=40))
    assert reduced["ori_shape"] == full["ori_shape"] == full["img_shape"]
    height, width = reduced["img_shape"]
    assert (height, width) == tuple(edge // 4 for edge in full["img_shape"])
    means = full["img"].reshape(height, 4, width, 4, 3).mean((1, 3))
    assert abs(reduced["img"] - means).max() <= 2


def test_truncated_jpeg_is_noticed_at_reduced_size_too(tmp_path):
    content = encoded(photo(400, 600))
    path = tmp_path / "broken.jpg"
    for broken in (content[: len(content) // 2], content[:-2]):
        path.write_bytes(broken)
        with pytest.raises(CorruptImageError, match="Cannot decode .*broken.jpg"):
            load(path, LoadImage(min_edge=50))


def test_a_min_edge_below_one_is_refused():
    with pytest.raises(ValueError, match="min_edge=0: expected a positive number"):
        LoadImage(min_edge=0)


def test_pixels_that_are_loaded_already_are_passed_on():
    """MMPretrain's inferencers load images themselves."""
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    results = LoadImage().transform(dict(img=pixels))
    assert results["img"] is pixels
    assert results["img_shape"] == results["ori_shape"] == (2, 4)
    as_float = LoadImage(to_float32=True).transform(dict(img=pixels))["img"]
    assert as_float.dtype == np.float32 and (as_float == pixels).all()
    with pytest.raises(KeyError, match="img_path"):
        LoadImage().transform({})
