"""The synthetic data set on the disk, and its long tail."""

import errno
import json
import os

import numpy as np
import pytest
from PIL import Image

from capnet_mm.datasets import ShapesLT


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "shapes_lt"
    ShapesLT(str(root))
    return root


def test_dataset_knows_its_long_tail(data_root):
    train = ShapesLT(str(data_root))
    test = ShapesLT(str(data_root), test_mode=True)
    assert train.metainfo["class_counts"][0] == 400
    assert test.metainfo["class_counts"] == train.metainfo["class_counts"]
    assert [len(g) for g in train.metainfo["groups"].values()] == [7, 8, 9]
    image = np.asarray(Image.open(test.get_data_info(0)["img_path"]))
    assert image.shape == (96, 96, 3) and image.std() > 5
    # What the docstring and docs/results.md say.
    assert (len(train), len(test)) == (1024, 962)


def test_images_are_drawn_once_and_always_the_same(data_root, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in data_root.rglob("*")}
    ShapesLT(str(data_root))
    assert {p: p.stat().st_mtime_ns for p in data_root.rglob("*")} == before
    other = tmp_path / "again"
    ShapesLT(str(other))
    for path in ("shapes_lt_train.txt", "train/0005.png", "test/0007.png"):
        assert (other / path).read_bytes() == (data_root / path).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again"]


def test_train_and_test_images_differ(data_root):
    images = [p.read_bytes() for p in data_root.glob("*/*.png")]
    assert len(set(images)) == len(images)


def test_another_data_set_is_left_alone(tmp_path):
    (tmp_path / "train.txt").write_text("a.jpg 0")
    with pytest.raises(ValueError, match="something else than ShapesLT"):
        ShapesLT(str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["train.txt"]


def test_images_of_another_version_are_refused(tmp_path):
    (tmp_path / "shapes_lt.json").write_text(json.dumps(dict(version=0)))
    with pytest.raises(ValueError, match="another version .* delete it"):
        ShapesLT(str(tmp_path))


def test_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def save(self, path):
        if path.name == "0003.png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path.write_bytes(b"")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="No space left.*35 MB"):
        ShapesLT(str(tmp_path / "shapes_lt"))
    assert list(tmp_path.iterdir()) == []
