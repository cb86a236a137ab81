"""Image lists, read and written."""

import json

import pytest

from capnet_mm.datasets import ImageListDataset
from capnet_mm.datasets.list_files import read_image_list, write_image_list

CLASSES = ("cat", "dog", "cow", "bus")
TEXT = "a.jpg 2 0 ?3 ?1\nb.jpg\nc.jpg ?0 ?1 ?2 ?3\nd.jpg 3\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    (tmp_path / "train.txt").write_text(TEXT)
    return tmp_path


def make(root, name="train.txt"):
    return ImageListDataset(name, data_root=str(root), check_images=False)


def write_json(root, entries):
    content = dict(metainfo=dict(classes=CLASSES), data_list=entries)
    (root / "list.json").write_text(json.dumps(content))


def test_question_mark_in_text_and_gt_unknown_in_json_say_the_same(root):
    entries = [
        dict(img_path="a.jpg", gt_label=[2, 0], gt_unknown=[3, 1, 3]),
        dict(img_path="b.jpg", gt_label=[], gt_unknown=[]),
        dict(img_path="c.jpg", gt_label=[], gt_unknown=[0, 1, 2, 3]),
        dict(img_path="d.jpg", gt_label=[3]),
    ]
    write_json(root, entries)
    expected = [
        dict(img_path="a.jpg", gt_label=[0, 2], gt_unknown=[1, 3]),
        dict(img_path="b.jpg", gt_label=[]),
        dict(img_path="c.jpg", gt_label=[], gt_unknown=[0, 1, 2, 3]),
        dict(img_path="d.jpg", gt_label=[3]),
    ]
    assert read_image_list(str(root / "train.txt"), 4) == expected
    assert read_image_list(str(root / "list.json"), 4) == expected


@pytest.mark.parametrize("name", ["new.txt", "new.json"])
def test_written_lists_read_back_as_they_were(root, name):
    images = read_image_list(str(root / "train.txt"), 4)
    (root / name).write_text("old")
    write_image_list(root / name, images, dict(classes=CLASSES))
    assert read_image_list(str(root / name), 4) == images
    other = make(root, name).metainfo
    assert other == make(root).metainfo
    left = [path.name for path in root.iterdir() if "partial" in path.name]
    assert left == []


def test_what_cannot_be_written_leaves_the_old_list_as_it_was(root):
    images = [dict(img_path="a.jpg", gt_label=[]), dict(img_path="a b", gt_label=[])]
    with pytest.raises(ValueError, match="'a b' has a space .* write a .json list"):
        write_image_list(root / "train.txt", images)
    assert (root / "train.txt").read_text() == TEXT
    write_image_list(root / "list.json", images)
    assert read_image_list(str(root / "list.json"), 1) == images


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg ?4", "line 1: label 4 is out of range.* 0 to 3"),
        ("a.jpg ?-1", "line 1: label -1 is out of range"),
        ("a.jpg ?", r"line 1: label '\?' is not a whole number.*\?label"),
        ("a.jpg ??1", r"line 1: label '\?\?1' is not a whole number"),
        ("a.jpg 1?", r"line 1: label '1\?' is not a whole number"),
        ("b.jpg 0\na.jpg 1 2 ?2", "line 2: label 2 is given as positive and as unk"),
    ],
)
def test_wrong_unknown_label_of_a_text_list_is_named(root, line, message):
    (root / "bad.txt").write_text(line)
    with pytest.raises(ValueError, match=f"bad.txt, {message}"):
        make(root, "bad.txt")


@pytest.mark.parametrize(
    ("unknown", "message"),
    [
        (3, "expected 'gt_unknown', where it is given"),
        (None, "expected 'gt_unknown', where it is given"),
        ([True], "expected 'gt_unknown', where it is given"),
        ([4], "label 4 is out of range"),
        ([1], "label 1 is given as positive and as unknown"),
    ],
)
def test_wrong_unknown_label_of_a_json_list_is_named(root, unknown, message):
    write_json(root, [dict(img_path="a.jpg", gt_label=[1], gt_unknown=unknown)])
    with pytest.raises(ValueError, match=rf"list.json, data_list\[0\].*{message}"):
        make(root, "list.json")
