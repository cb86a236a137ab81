"""Names of classes."""

import pytest

from capnet_mm.datasets import read_class_names, readable_name


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("aeroplane", "airplane"),
        ("diningtable", "dining table"),
        ("motorbike", "motorcycle"),
        ("pottedplant", "potted plant"),
        ("sofa", "couch"),
        ("tvmonitor", "tv"),
        ("fire_hydrant", "fire hydrant"),
        ("teddy bear", "teddy bear"),
        ("cow", "cow"),
    ],
)
def test_compact_names_become_words(name, readable):
    assert readable_name(name) == readable


def test_readable_voc_names_are_those_of_coco():
    from mmpretrain.datasets.categories import VOC2007_CATEGORIES

    from capnet_mm.datasets.coco_lt import COCO_CATEGORIES

    # COCO took over all 20 classes of VOC: an independent spelling of them.
    readable = {readable_name(name) for name in VOC2007_CATEGORIES}
    assert len(readable) == 20
    assert readable <= set(COCO_CATEGORIES)


def test_a_second_column_is_the_name_for_prompts(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("sofa\ntvmonitor\ttelevision set\r\nstop_sign\n\n")
    names, prompt_names = read_class_names(path)
    assert names == ("sofa", "tvmonitor", "stop_sign")
    assert prompt_names == ("couch", "television set", "stop sign")


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes(b"\xef\xbb\xbfcat\ndog\n")
    assert read_class_names(path)[0] == ("cat", "dog")


def test_missing_classes_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no classes file .*nowhere.txt"):
        read_class_names(tmp_path / "nowhere.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "classes.txt is empty"),
        (" \n\n", "classes.txt is empty"),
        ("cat\n\ndog\n", "classes.txt, line 2 is empty"),
        ("\tcat\n", "classes.txt, line 1 is empty"),
        ("cat\ndog\ncat\n", "classes.txt, line 3: class 'cat' is already on line 1"),
        ("cat\ndog\thound\tdog\n", "classes.txt, line 2: expected"),
    ],
)
def test_wrong_line_of_a_classes_file_is_named(tmp_path, text, message):
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_class_names(path)


def test_classes_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(ValueError, match="classes.txt is not UTF-8"):
        read_class_names(path)
