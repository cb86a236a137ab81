"""Checking, reporting and writing a set."""

import hashlib
import json
import os

import numpy as np
import pytest
from PIL import Image

from capnet_mm import preparation
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


def test_counts_and_groups_are_those_of_training():
    train = [(f"{index}.jpg", (0, 1) if index < 20 else (0,)) for index in range(100)]
    found = make(train, [("x.jpg", (2,)), ("y.jpg", ())])
    report = preparation.check_set(found, ".", check_images=False)
    assert report.class_counts == dict(train=(100, 20, 0), test=(0, 0, 1))
    assert report.groups == dict(head=(0,), medium=(1,), tail=(2,))
    text = preparation.format_report(report)
    assert "train: 100 images, 120 labels, 0 images without label" in text
    assert "test: 2 images, 1 labels, 1 images without label" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["cat", "100", "0", "head"] in lines
    assert ["dog", "20", "0", "medium"] in lines
    assert ["cow", "0", "1", "tail"] in lines
    assert "published" not in text


def test_a_difference_from_the_published_figures_is_said():
    found = make([("a.jpg", (0,))], [("b.jpg", ())], name="coco_lt")
    text = preparation.format_report(
        preparation.check_set(found, ".", check_images=False)
    )
    assert "training images: 1, DIFFERS, published: 1,909" in text
    assert "tail classes: 0 / 0 / 3, DIFFERS, published: 22 / 33 / 25" in text
    assert "test images without label: 1, DIFFERS, published: 48" in text


def test_missing_broken_and_shared_images_are_listed(root):
    found = make(
        [("a.jpg", (0,)), ("cut.jpg", (1,)), ("gone.jpg", (1,)), ("b.jpg", (2,))],
        [("copy.jpg", (0,)), ("c.jpg", ()), ("b.jpg", ())],
    )
    report = preparation.check_set(found, root)
    assert report.missing == {"train": ["gone.jpg"]}
    assert report.broken == {}
    assert report.same_path == [("train: b.jpg", "test: b.jpg")]
    assert report.same_bytes == [("train: a.jpg", "test: copy.jpg")]
    assert "do not open: not tried" in preparation.format_report(report)

    report = preparation.check_set(found, root, open_images=True)
    assert list(report.broken) == ["train"]
    assert list(report.broken["train"]) == ["cut.jpg"]
    assert report.unusable == dict(train={"gone.jpg", "cut.jpg"}, test=set())
    text = preparation.format_report(report)
    assert "Images that are missing: 1\n  train: gone.jpg" in text
    assert "Images that do not open: 1\n  train: cut.jpg: the JPEG ends" in text
    assert "by their bytes: 1\n  train: a.jpg = test: copy.jpg" in text


def test_files_of_one_size_are_not_the_same_unless_their_bytes_are(root):
    (root / "x").write_bytes(b"12345")
    (root / "y").write_bytes(b"12346")
    report = preparation.check_set(make([("x", ())], [("y", ())]), root)
    assert report.same_bytes == []
    (root / "x").write_bytes(b"1" + bytes(5000))
    (root / "y").write_bytes(b"2" + bytes(5000))  # the end is the same as well
    report = preparation.check_set(make([("x", ())], [("y", ())]), root)
    assert report.same_bytes == []


def test_unusable_images_can_be_dropped(root):
    found = make([("a.jpg", (0,)), ("gone.jpg", (1,))], [("c.jpg", ())])
    report = preparation.drop_unusable(preparation.check_set(found, root))
    assert [image.path for image in found.splits["train"]] == ["a.jpg"]
    assert report.class_counts["train"] == (1, 0, 0)
    assert report.missing == {"train": ["gone.jpg"]}
    assert found.options == {"dropped": {"train": 1}}
    assert "were left out" in preparation.format_report(report)
    found = make([("a.jpg", (0,))], [("gone.jpg", ())])
    with pytest.raises(ValueError, match="All 1 images of test are missing"):
        preparation.drop_unusable(preparation.check_set(found, root))


def test_long_lists_are_cut_only_where_asked(root):
    found = make([(f"{index}.jpg", ()) for index in range(12)], [("a.jpg", ())])
    report = preparation.check_set(found, root)
    assert "… and 2 more" in preparation.format_report(report, 10)
    assert "11.jpg" not in preparation.format_report(report, 10)
    assert "11.jpg" in preparation.format_report(report)


def test_the_file_is_one_image_a_line_with_names_counts_and_sources(tmp_path):
    found = make([("ä b.jpg", (0, 2)), ("x.jpg", (2,))], [("y.jpg", (), (1,))])
    found.sources.append(dict(path="list.txt", sha256="00"))
    paths = preparation.write_set(found, tmp_path / "new")
    assert [path.name for path in paths] == ["pets_train.json", "pets_test.json"]
    lines = paths[0].read_text(encoding="utf-8").splitlines()
    assert lines[2] == '{"img_path": "ä b.jpg", "gt_label": [0, 2]},'
    for path, split in zip(paths, ("train", "test"), strict=True):
        metainfo = json.loads(path.read_text(encoding="utf-8"))["metainfo"]
        assert metainfo["classes"] == ["cat", "dog", "cow"]
        assert (metainfo["class_counts"], metainfo["num_images"]) == ([1, 0, 2], 2)
        assert metainfo["split"] == split
        assert metainfo["provenance"]["sources"] == [dict(path="list.txt", sha256="00")]
    assert json.loads(paths[1].read_text())["data_list"] == [
        dict(img_path="y.jpg", gt_label=[], gt_unknown=[1])
    ]


def test_sources_are_named_by_their_hash(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    table = tmp_path / "elsewhere" / "t.csv"
    table.write_bytes(b"image,tags\na.jpg,cat\n")
    (tmp_path / "root").mkdir()
    found = preparation.read_own_data(tmp_path / "root", table)
    expected = hashlib.sha256(b"image,tags\na.jpg,cat\n").hexdigest()
    assert found.sources == [dict(path="t.csv", sha256=expected)]
    found = preparation.read_own_data(tmp_path, table)
    assert found.sources == [dict(path="elsewhere/t.csv", sha256=expected)]


def test_a_different_file_is_replaced_by_force_only(tmp_path):
    first, second = (make([("a", (label,))], [("b", ())]) for label in (0, 1))
    train, test = preparation.write_set(first, tmp_path)
    before = train.read_bytes()
    preparation.write_set(first, tmp_path)  # the same: nothing is lost
    for act in (preparation.check_not_there, preparation.write_set):
        with pytest.raises(FileExistsError, match="pets_train.json is there already"):
            act(second, tmp_path)
    assert train.read_bytes() == before
    preparation.write_set(second, tmp_path, force=True)
    assert train.read_bytes() != before


def test_a_failure_leaves_neither_half_a_file_nor_one_of_two(tmp_path, monkeypatch):
    found = make([("a", (0,))], [("b", ())])
    calls = []

    def full_disk(handle):
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        preparation.write_set(found, tmp_path)
    assert list(tmp_path.iterdir()) == []
