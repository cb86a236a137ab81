"""Checking a set."""

import pytest

from capnet_mm import preparation
from capnet_mm.datasets import COCOLT, NUSWIDE, VOCLT

from .conftest import make


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


@pytest.mark.parametrize("data_set", [VOCLT, COCOLT, NUSWIDE])
def test_published_figures_are_those_that_a_report_counts(data_set):
    name = data_set.TRAIN_LIST.rpartition("_train")[0]
    report = preparation.check_set(make([("a", ())], [("b", ())], name), ".", False)
    found = {figure.name: figure.published for figure in report.published_numbers}
    assert found == data_set.PUBLISHED
