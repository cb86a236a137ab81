"""The report of a preparation."""

from capnet_mm import preparation

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
