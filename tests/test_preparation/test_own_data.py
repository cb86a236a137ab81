"""One's own data: tables, JSON lines, folders of label files."""

import json

import pytest

from capnet_mm import preparation
from capnet_mm.datasets import ImageListDataset


def names_of(labelled_set, split="train"):
    return {
        image.path: {labelled_set.classes[label] for label in image.labels}
        for image in labelled_set.splits[split]
    }


EXPECTED = {"a b.jpg": {"cat", "polar bear"}, "c.jpg": {"cat"}, "d.jpg": set()}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", 'image,tags\r\n"a b.jpg",cat; polar bear\r\nc.jpg,cat\r\nd.jpg,\r\n'),
        ("t.tsv", "image\ttags\na b.jpg\tcat;polar bear;\nc.jpg\tcat\n\nd.jpg\t\n"),
        ("t.csv", "\ufeffimage,cat,polar bear\na b.jpg,1,1\nc.jpg,1,0\nd.jpg,0,0\n"),
        (
            "t.jsonl",
            '{"path": "a b.jpg", "labels": ["polar bear", "cat"]}\n'
            '{"path": "c.jpg", "labels": ["cat"], "more": 1}\n\n'
            '{"path": "d.jpg", "labels": []}',
        ),
    ],
)
def test_all_forms_say_the_same(write, tmp_path, name, text):
    found = preparation.read_own_data(tmp_path, write(name, text))
    assert found.classes == ("cat", "polar bear")
    assert names_of(found) == EXPECTED


def test_a_folder_of_label_files_finds_its_images(write, tmp_path):
    write("labels/x/a b.txt", "polar bear\ncat\n")
    write("labels/c.txt", "cat")
    write("labels/d.txt", "\n")
    write("images/x/a b.PNG", "")
    write("images/c.jpeg", "")
    found = preparation.read_own_data(tmp_path, tmp_path / "labels", image_dir="images")
    assert names_of(found) == {
        "images/c.jpeg": {"cat"},
        "images/d.jpg": set(),  # not there: the check will list it
        "images/x/a b.PNG": {"cat", "polar bear"},
    }
    report = preparation.check_set(found, tmp_path)
    assert report.missing == {"train": ["images/d.jpg"]}
    write("images/c.png", "")
    with pytest.raises(ValueError, match="c.txt: there are several images c"):
        preparation.read_own_data(tmp_path, tmp_path / "labels", image_dir="images")


def test_columns_and_separator_can_be_named(write, tmp_path):
    path = write("t.csv", "id,tags,when,file\n1,cat|dog,2020,a.jpg\n")
    found = preparation.read_own_data(
        *(tmp_path, path), path_column="file", labels_column="tags", separator="|"
    )
    assert names_of(found) == {"a.jpg": {"cat", "dog"}}
    path = write("t.jsonl", '{"file": "a.jpg", "tags": ["cat"]}')
    found = preparation.read_own_data(
        tmp_path, path, path_column="file", labels_column="tags"
    )
    assert names_of(found) == {"a.jpg": {"cat"}}


def test_given_classes_keep_their_order_and_allow_numbers(write, tmp_path):
    classes = write("classes.txt", "dog\ntvmonitor\ttelevision\ncat\n")
    path = write("t.jsonl", '{"path": "a.jpg", "labels": ["cat", 0]}')
    found = preparation.read_own_data(tmp_path, path, classes=classes)
    assert found.classes == ("dog", "tvmonitor", "cat")
    assert found.prompt_names == ("dog", "television", "cat")
    assert names_of(found) == {"a.jpg": {"dog", "cat"}}


def test_unknown_labels_are_kept_apart(write, tmp_path):
    table = write("t.csv", "image,cat,dog\na.jpg,1,-1\nb.jpg,0,1\n")
    lines = write(
        "t.jsonl",
        '{"path": "a.jpg", "labels": ["cat"], "unknown": ["dog"]}\n'
        '{"path": "b.jpg", "labels": ["dog"]}\n',
    )
    for path in (table, lines):
        found = preparation.read_own_data(tmp_path, path)
        assert [(i.labels, i.unknown) for i in found.splits["train"]] == [
            ((0,), (1,)),
            ((1,), ()),
        ]
        preparation.write_set(found, tmp_path, force=True)
        dataset = ImageListDataset(
            "custom_train.json", data_root=str(tmp_path), check_images=False
        )
        assert dataset.get_data_info(0)["gt_score"].tolist() == [1, -1]


def test_names_that_differ_by_case_only_are_pointed_out(write, tmp_path):
    path = write("t.csv", "image,tags\na.jpg,Polar_Bear\nb.jpg,polar bear\n")
    notes = preparation.read_own_data(tmp_path, path).notes
    assert "Are these one class? 'Polar_Bear', 'polar bear'" in notes


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "", "t.csv, line 1: expected a header"),
        ("t.csv", "image\na.jpg\n", "t.csv, line 1: expected a header"),
        ("t.csv", "image,cat,cat\n", "t.csv, line 1: expected a header"),
        ("t.csv", "image,tags\n", "t.csv is empty"),
        ("t.csv", "image,tags\na.jpg,cat,dog\n", "line 2: 3 columns, but .* has 2"),
        ("t.csv", 'image,tags\na.jpg,"cat\n', "t.csv, line 2: unexpected end"),
        ("t.csv", "image,tags\na.jpg,cat\na.jpg,dog\n", "line 3: image 'a.jpg' is al"),
        ("t.csv", "image,tags\n,cat\n", "line 2: the path of the image is empty"),
        (
            "t.csv",
            "image,cat,dog\na.jpg,1,yes\n",
            "line 2, column 'dog': expected 0, 1",
        ),
        ("t.csv", "image,tags\na.jpg,\n", "No class names in .*t.csv"),
        ("t.jsonl", '{"path": "a.jpg"}', "t.jsonl, line 1: expected an object"),
        ("t.jsonl", '{"path": "a.jpg", "labels": "cat"}', "line 1: expected an object"),
        (
            "t.jsonl",
            '{"path": "a.jpg", "labels": [true]}',
            "line 1: expected an object",
        ),
        ("t.jsonl", '\n["a.jpg"]', "t.jsonl, line 2: expected an object"),
        ("t.jsonl", '{"path": ', "t.jsonl, line 1 is not valid JSON"),
        (
            "t.jsonl",
            '{"path": "a", "labels": ["x"], "unknown": ["x"]}',
            "line 1: 'x' is given as a label and as unknown",
        ),
        ("t.xlsx", "", "t.xlsx: expected a .csv, .tsv or .jsonl"),
    ],
)
def test_wrong_line_is_named(write, tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        preparation.read_own_data(tmp_path, write(name, text))


def test_wrong_options_are_named(write, tmp_path):
    path = write("t.csv", "image,tags\na.jpg,cow\n")
    with pytest.raises(ValueError, match="no column 'label' in"):
        preparation.read_own_data(tmp_path, path, labels_column="label")
    with pytest.raises(
        ValueError, match="line 2: label 'cow' is none of the 1 classes"
    ):
        preparation.read_own_data(tmp_path, path, classes=["cat"])
    with pytest.raises(ValueError, match="not both"):
        preparation.read_own_data(tmp_path, path, val=path, val_fraction=0.5)
    with pytest.raises(ValueError, match="'a/b' is no name for files"):
        preparation.read_own_data(tmp_path, path, name="a/b")
    with pytest.raises(FileNotFoundError, match="no table .*nowhere.csv"):
        preparation.read_own_data(tmp_path, tmp_path / "nowhere.csv")


def test_a_class_of_validation_alone_is_a_class(write, tmp_path):
    train = write("train.csv", "image,tags\na.jpg,cat\n")
    val = write("val.csv", "image,tags\nb.jpg,ant\n")
    found = preparation.read_own_data(tmp_path, train, val)
    assert found.classes == ("ant", "cat")
    assert names_of(found, "val") == {"b.jpg": {"ant"}}


def test_a_drawn_split_is_written_and_read(write, tmp_path):
    lines = [
        json.dumps(dict(path=f"{index}.jpg", labels=["cat", "dog"][: index % 3]))
        for index in range(30)
    ]
    path = write("all.jsonl", "\n".join(lines))
    found = preparation.read_own_data(
        tmp_path, path, val_fraction=0.2, seed=3, name="pets"
    )
    assert {split: len(each) for split, each in found.splits.items()} == dict(
        train=24, val=6
    )
    assert (found.class_counts("train"), found.class_counts("val")) == ((16, 8), (4, 2))
    preparation.write_set(found, tmp_path)
    val = ImageListDataset(
        "pets_val.json",
        data_root=str(tmp_path),
        train_ann_file="pets_train.json",
        check_images=False,
        test_mode=True,
    )
    assert (len(val), val.metainfo["num_images"]) == (6, 24)
    assert val.metainfo["classes"] == ("cat", "dog")
    assert val.metainfo["class_counts"] == (16, 8)
