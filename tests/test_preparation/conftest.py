"""A set, images and files to try the preparation on."""

import numpy as np
import pytest
from PIL import Image

from capnet_mm.preparation import LabelledImage, LabelledSet


def make(train, test, name="pets"):
    classes = ("cat", "dog", "cow")
    splits = {
        split: [LabelledImage(*image) for image in images]
        for split, images in (("train", train), ("test", test))
    }
    return LabelledSet(name, classes, classes, splits)


@pytest.fixture
def root(tmp_path):
    random = np.random.default_rng(0)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        pixels = random.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "copy.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    content = (tmp_path / "c.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[:-10])
    return tmp_path


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write
