"""Names of classes."""

import pytest

from capnet_mm.datasets import read_class_names, readable_name


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("fire_hydrant", "fire hydrant"),
        ("_fire__hydrant ", "fire hydrant"),
        ("teddy bear", "teddy bear"),
        ("sofa", "sofa"),
        ("diningtable", "diningtable"),
        ("tvmonitor", "tvmonitor"),
    ],
)
def test_only_underscores_become_spaces_in_a_name_of_ones_own(name, readable):
    assert readable_name(name) == readable


def test_a_second_column_is_the_name_for_prompts(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("sofa\ntvmonitor\ttelevision set\r\nstop_sign\n\n")
    names, prompt_names = read_class_names(path)
    assert names == ("sofa", "tvmonitor", "stop_sign")
    assert prompt_names == ("sofa", "television set", "stop sign")


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
