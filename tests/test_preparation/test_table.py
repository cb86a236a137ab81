"""Tables of images and class names."""

import pytest

from capnet_mm import preparation
from capnet_mm.preparation.reading import SourceFiles
from capnet_mm.preparation.table import Columns, LabelRow, label_rows, read_table


def names_of(labelled_set, split="train"):
    return {
        image.path: {labelled_set.classes[label] for label in image.labels}
        for image in labelled_set.splits[split]
    }


def test_rows_say_where_they_stand_and_columns_which_classes_there_are(write, tmp_path):
    path = write("t.tsv", "file\tcat\tdog\na\\b.jpg\t1\t-1\n\n./c.jpg\t0\t1\n")
    rows, classes = read_table(SourceFiles(tmp_path), path, Columns())
    assert classes == ["cat", "dog"]
    assert rows == [
        LabelRow("a/b.jpg", ["cat"], ["dog"], f"{path}, line 2"),
        LabelRow("c.jpg", ["dog"], [], f"{path}, line 4"),
    ]


def test_numbers_are_labels_where_they_are_allowed():
    rows = [LabelRow("a.jpg", ["dog", "0", "02"], [], "t.csv, line 2")]
    (image,) = label_rows(rows, ["ox", "cat", "dog"], "pets")
    assert (image.path, image.labels) == ("pets/a.jpg", (0, 2))
    with pytest.raises(
        ValueError, match="line 2: label '0' is none of the 3 classes; "
    ):
        label_rows(rows, ["ox", "cat", "dog"], "pets", numbers=False)


ML_DECODER = """filepath,label,split_name
images/a.jpg,"['polar bear', 'cat']",train
images/b.jpg,[],train
images/c.jpg,['cat'],val
"""


def test_a_table_as_ml_decoders_has_lists_and_splits(write, tmp_path):
    path = write("data.csv", ML_DECODER)
    found = preparation.read_own_data(tmp_path, path, split_column="split_name")
    assert found.classes == ("cat", "polar bear")
    assert names_of(found) == {
        "images/a.jpg": {"cat", "polar bear"},
        "images/b.jpg": set(),
    }
    assert names_of(found, "val") == {"images/c.jpg": {"cat"}}
    # 'test' is the validation set as well.
    path = write("data.csv", ML_DECODER.replace(",val", ",test"))
    other = preparation.read_own_data(tmp_path, path, split_column="split_name")
    assert other.splits == found.splits


def test_lists_in_a_table_are_literals_and_never_run(write, tmp_path):
    there = tmp_path / "there"
    for cell in (
        f"[open({str(there)!r}, 'w').name]",
        f"[__import__('pathlib').Path({str(there)!r}).touch()]",
    ):
        text = "image,tags\na.jpg,['cat']\nb.jpg," + '"' + cell + '"\n'
        with pytest.raises(ValueError, match="t.csv, line 3: expected class names as"):
            preparation.read_own_data(tmp_path, write("t.csv", text))
    assert not there.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ML_DECODER.replace("val", "dev"), "line 4: split 'dev' is none of train"),
        (ML_DECODER.replace("val", "train"), "splits says train; expected 'train' and"),
        (ML_DECODER.replace("['cat']", "['cat'"), "data.csv, line 4: label"),
        (ML_DECODER.replace("['cat']", "['cat' 'dog' 1]"), "line 4: expected class na"),
        (ML_DECODER.replace("['cat']", "[['cat']]"), "line 4: expected class names"),
        (ML_DECODER.replace("split_name", "split"), "line 1: there is no column"),
    ],
)
def test_wrong_line_of_such_a_table_is_named(write, tmp_path, text, message):
    path = write("data.csv", text)
    with pytest.raises(ValueError, match=message):
        preparation.read_own_data(
            *(tmp_path, path),
            split_column="split_name",
            classes=["cat", "polar bear"],
        )


def test_a_column_of_splits_goes_with_one_table_only(write, tmp_path):
    path = write("data.csv", ML_DECODER)
    with pytest.raises(ValueError, match="leave out --val"):
        preparation.read_own_data(tmp_path, path, val=path, split_column="split_name")
    lines = write("t.jsonl", '{"path": "a.jpg", "labels": ["cat"]}')
    with pytest.raises(ValueError, match="only a .csv or .tsv table"):
        preparation.read_own_data(tmp_path, lines, split_column="split_name")
