"""Results as JSON lines, CSV and a table."""

import csv
import io
import json

import numpy as np
import pytest

from capnet_mm.apis import writers

GOOD = dict(
    img_path="Füße, 1.jpg",
    pred_scores=np.array([0.25, 0.87654321], np.float32),
    thresholds=np.array([0.5, 0.2]),
    pred_label=[1, 0],
    pred_score=[0.87654321, 0.25],
    pred_class=["猫", "dog"],
    pred_group=["tail", None],
)
EMPTY = dict(GOOD, pred_label=[], pred_score=[], pred_class=[], pred_group=[])
BROKEN = {k: EMPTY[k] for k in EMPTY if k not in ("pred_scores", "thresholds")}
BROKEN |= dict(img_path=None, error="Cannot decode")


def test_a_line_a_picture_is_json():
    file = io.StringIO()
    assert list(writers.write_json_lines([GOOD, BROKEN], file)) == [GOOD, BROKEN]
    good, broken = map(json.loads, file.getvalue().splitlines())
    assert good["pred_class"] == ["猫", "dog"] and good["pred_label"] == [1, 0]
    assert good["pred_scores"] == [0.25, 0.876543] and "thresholds" not in good
    assert "猫" in file.getvalue()
    assert broken["error"] == "Cannot decode" and broken["pred_class"] == []


def test_labels_of_a_picture_stand_in_one_cell_of_the_csv():
    file = io.StringIO()
    list(writers.write_csv([GOOD, BROKEN], file))
    good, broken = csv.DictReader(io.StringIO(file.getvalue()))
    assert good == dict(
        image_path="Füße, 1.jpg",
        label="猫,dog",
        score="0.876543,0.25",
        group="tail,",
        error="",
    )
    assert broken["error"] == "Cannot decode" and broken["label"] == ""


def test_the_table_has_a_line_a_label(capsys):
    list(writers.write_table([GOOD, EMPTY, BROKEN]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["Füße,", "1.jpg", "猫", "0.877", "tail"]
    assert lines[2].split() == ["dog", "0.250"]
    assert lines[3].split()[-1] == "–"
    assert "error: Cannot decode" in lines[4]


def test_the_ending_says_what_is_written(tmp_path):
    with writers.open_writer(str(tmp_path / "a.CSV")) as write:
        list(write([GOOD]))
    assert (tmp_path / "a.CSV").read_text("utf-8").startswith("image_path,label")
    with pytest.raises(ValueError, match="ends in .jsonl or .csv"):
        with writers.open_writer(str(tmp_path / "a.txt")):
            pass
