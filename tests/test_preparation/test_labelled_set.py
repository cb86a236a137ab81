"""A set in memory."""

import pytest

from capnet_mm.preparation.labelled_set import LabelledImage, LabelledSet


def empty(**options):
    classes = ["cat", "diningtable", "wild_cow"]
    return LabelledSet("pets", classes, None, {"train": []}, options=options)


@pytest.mark.parametrize(
    ("prefer", "listed", "derived", "expected", "differences"),
    [
        ("list", (0,), (1,), (0,), [("train", "a.jpg", (0,), (1,))]),
        ("annotations", (0,), (1,), (1,), [("train", "a.jpg", (0,), (1,))]),
        ("list", (), (1,), (), [("train", "a.jpg", (), (1,))]),
        ("list", (0,), (0,), (0,), []),
        ("list", None, (), (), []),
        ("annotations", (2,), None, (2,), []),
    ],
)
def test_labels_come_from_the_preferred_source_that_has_them(
    prefer, listed, derived, expected, differences
):
    found = empty(labels=prefer)
    found.add("train", LabelledImage("a.jpg", listed, (2,)), derived)
    assert found.splits["train"] == [("a.jpg", expected, (2,))]
    assert found.differences == differences


def test_an_image_counts_once_for_each_of_its_classes():
    found = empty()
    for labels in ((0, 2), (2,), ()):
        found.add("train", LabelledImage("a.jpg", labels), None)
    assert found.class_counts("train") == (1, 0, 2)


def test_prompt_names_are_readable_unless_given():
    assert empty().prompt_names == ("cat", "diningtable", "wild cow")
    given = LabelledSet("pets", ["cat"], ["kitten"], {})
    assert given.prompt_names == ("kitten",)
