"""The report of a preparation."""

from capnet_mm import preparation
from capnet_mm.preparation import LabelledImage, LabelledSet

from .conftest import make


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


def test_long_lists_are_cut_only_where_asked(root):
    found = make([(f"{index}.jpg", ()) for index in range(12)], [("a.jpg", ())])
    report = preparation.check_set(found, root)
    assert "… and 2 more" in preparation.format_report(report, 10)
    assert "11.jpg" not in preparation.format_report(report, 10)
    assert "11.jpg" in preparation.format_report(report)


def test_what_was_not_looked_for_is_said():
    found = make([("a.jpg", ())], [("a.jpg", ())])
    report = preparation.check_set(found, ".", check_images=False)
    lines = preparation.format_report(report).splitlines()
    assert [
        line for line in lines if line.startswith("Images in two splits, by p")
    ] == ["Images in two splits, by path: 1"]
    for title in (
        "in two splits, by their bytes",
        "that are missing",
        "that do not op",
    ):
        (line,) = (line for line in lines if line.startswith(f"Images {title}"))
        assert line.endswith(": not tried")


def test_columns_stand_below_each_other_whatever_the_letters():
    found = LabelledSet("pets", ("猫", "kitten"), None, {"train": []})
    found.add("train", LabelledImage("a.jpg", (0, 1)), None)
    report = preparation.check_set(found, ".", check_images=False)
    lines = preparation.format_report(report).splitlines()
    (cat,) = (line for line in lines if "猫" in line)
    (kitten,) = (line for line in lines if "kitten" in line)
    # The letter takes two places on a terminal.
    assert cat.replace("猫", "ab").index("1") == kitten.index("1")
