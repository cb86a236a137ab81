"""Writing a set."""

import json
import os

import pytest

from capnet_mm import preparation

from .conftest import make


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
