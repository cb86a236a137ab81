"""What users name becomes batches, and what is broken is told apart."""

import os

import numpy as np
import pytest
from mmengine.dataset import Compose
from mmpretrain.datasets import LoadImageFromFile, PackInputs
from PIL import Image

from capnet_mm.apis.pictures import as_bgr, list_pictures, load_batches
from capnet_mm.datasets.transforms import FastResizeEdge, LoadImage

RED = np.zeros((8, 6, 3), np.uint8)
RED[..., 2] = 200  # BGR


def steps(load=LoadImage):
    return Compose([load(), PackInputs()])


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "sub/a.jpg", "notes.txt", "sub/deep/c.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("txt"):
            (tmp_path / name).write_text("no picture")
        else:
            Image.new("RGB", (4, 4)).save(tmp_path / name)
    return tmp_path


def test_folders_patterns_files_and_pixels_are_listed(folder):
    def names(inputs):
        return [os.path.relpath(each, folder) for each in list_pictures(inputs)]

    everything = ["a.JPG", "b.png", "sub/a.jpg", "sub/deep/c.webp"]
    assert names(folder) == names(str(folder)) == everything
    assert names(f"{folder}/*") == ["a.JPG", "b.png"]
    assert names(f"{folder}/**/a.*") == ["a.JPG", "sub/a.jpg"]
    assert names(folder / "b.png") == ["b.png"]
    assert names([folder / "sub", folder / "b.png"]) == [*everything[2:], "b.png"]
    pixels = [RED, Image.new("RGB", (4, 4))]
    assert all(a is b for a, b in zip(list_pictures(pixels), pixels, strict=True))
    assert list_pictures(RED) == [RED]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a[1].png")
    assert list_pictures(tmp_path / "a[1].png") == [str(tmp_path / "a[1].png")]


def test_no_pictures_and_what_is_none_are_refused(tmp_path):
    for nothing in (tmp_path, f"{tmp_path}/*.jpg"):
        with pytest.raises(ValueError, match="has no pictures"):
            list_pictures(nothing)
    with pytest.raises(ValueError, match="int is no picture"):
        list_pictures([3])


def test_a_generator_is_read_as_far_as_needed():
    read = []

    def frames():
        for index in range(100):
            read.append(index)
            yield RED

    batches = load_batches(list_pictures(frames()), steps(), 4)
    next(batches)
    assert len(read) <= 8


def test_pixels_of_all_kinds_become_bgr():
    rgb = RED[..., ::-1]
    np.testing.assert_array_equal(as_bgr(RED), RED)
    np.testing.assert_array_equal(as_bgr(rgb, rgb=True), RED)
    np.testing.assert_array_equal(as_bgr(Image.fromarray(rgb)), RED)
    alpha = np.concatenate([RED, RED[..., :1]], axis=2)
    np.testing.assert_array_equal(as_bgr(alpha), RED)
    grey = RED[..., 2]
    for each in (grey, grey[..., None], Image.fromarray(grey)):
        np.testing.assert_array_equal(as_bgr(each), np.full_like(RED, 200))


def test_a_pil_image_is_turned_upright():
    image = Image.fromarray(RED[..., ::-1])
    image.getexif()[0x0112] = 6
    assert as_bgr(image).shape == (6, 8, 3)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)],
    ids=["float", "channels", "empty"],
)
def test_arrays_that_are_no_pictures_are_refused(wrong):
    with pytest.raises(ValueError, match="is no picture"):
        as_bgr(wrong)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_keep_the_order_and_tell_broken_pictures(folder, num_workers):
    (folder / "broken.jpg").write_bytes((folder / "a.JPG").read_bytes()[:300])
    Image.new("RGB", (6, 4)).save(folder / "wide.png")
    names = ("wide.png", "broken.jpg", "b.png", "missing.png", "a.JPG", "notes.txt")
    pictures = [str(folder / name) for name in names]
    first, second = load_batches(pictures, steps(), 4, num_workers=num_workers)
    assert first.pictures + second.pictures == pictures
    assert set(first.errors) == {1, 3} and set(second.errors) == {1}
    assert "broken.jpg" in first.errors[1] and "missing.png" in first.errors[3]
    shapes = [(which, data["inputs"].shape) for which, data in first.groups]
    assert shapes == [([0], (1, 3, 4, 6)), ([2], (1, 3, 4, 4))]
    assert [which for which, _ in second.groups] == [[0]]


@pytest.mark.parametrize("load", [LoadImage, LoadImageFromFile])
def test_pixels_go_through_the_pipeline_of_any_loader(load, tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels[..., ::-1]).save(tmp_path / "a.png")
    pipeline = Compose([load(), FastResizeEdge(10), PackInputs()])
    pictures = [str(tmp_path / "a.png"), pixels, pixels[..., ::-1]]
    [batch] = load_batches(pictures[:2], pipeline, 2)
    [rgb] = load_batches(pictures[2:], pipeline, 2, rgb=True)
    found = [*batch.groups[0][1]["inputs"], *rgb.groups[0][1]["inputs"]]
    assert all((each == found[0]).all() for each in found)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        next(load_batches([RED], steps(), 0))
