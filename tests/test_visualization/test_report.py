"""A report from plain data: its files, its words and its numbers."""

import json
import re

import numpy as np
import pytest

from capnet_mm.evaluation import reliability_bins
from capnet_mm.visualization import Curves
from capnet_mm.visualization.class_map_figure import class_map_sheet
from capnet_mm.visualization.report import (
    FIGURES,
    GraphExcerpt,
    Prediction,
    RunReport,
    ranked_labels,
    report_files,
)

from .conftest import entry

CLASSES = [
    entry("cow", 4, "tail", 20.0),
    entry("<dog>", 1413, "head", 80.125),
    entry("sofa", 50, "medium", float("nan"), 0),
    entry("boat", 7, "tail", 40.0),
]
METRICS = {
    "multi-label/mAP": 46.6667,
    "multi-label/mAP_head": 80.0,
    "multi-label/mAP_medium": float("nan"),
    "multi-label/mAP_tail": 30.0,
    "multi-label/AP/cow": 20.0,
    "other/score": 3.2,
}
BINS = reliability_bins(np.array([[0.1, 0.9, 0.95]]), np.array([[0, 1, 0]]))
RELIABILITY = dict(before=dict(total=BINS), after=dict(total=BINS, tail=BINS))


def full_report():
    image = np.full((30, 40, 3), 128, np.uint8)
    return RunReport(
        config="voc",
        phase="test",
        epoch=1,
        tta=True,
        metrics=METRICS,
        classes=CLASSES,
        reliability=RELIABILITY,
        names=[entry["name"] for entry in CLASSES],
        predictions=[
            Prediction(
                image,
                np.array([0.1, 0.9, 0.3, 0.2]),
                np.array([1, 0, 0, 1]),
                view=image[:, :30],
                maps={1: np.eye(3), 2: np.ones((3, 3))},
            )
        ],
        curves=Curves(dict(loss=([1, 2], [3.0, 2.0])), {}, {}),
        graph=GraphExcerpt(["a", "b"], np.eye(2), np.eye(2) * 0.7, 9, False),
    )


@pytest.fixture(scope="module")
def files():
    return report_files(full_report())


def rows_of(page):
    """Texts of the rows of all tables of a page."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, flags=re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_a_full_report_has_every_figure_in_both_themes_on_its_page(files):
    pngs = {f"{name}{theme}.png" for name in FIGURES for theme in ("", "_dark")}
    assert set(files) == pngs | {"report.html", "report.json"}
    assert files["report.html"].decode().count("data:image/png;base64,") == len(pngs)


def test_the_page_has_groups_other_scores_and_the_classes_by_training_count(files):
    rows = rows_of(files["report.html"].decode())
    assert rows[:4] == [
        ["", "total", "head", "medium", "tail"],
        ["mAP in percent", "46.67", "80.00", "–", "30.00"],
        ["classes", "4", "1", "1", "2"],
        ["training images of a class", "4–1,413", "1,413", "50", "4–7"],
    ]
    assert rows[4:6] == [["score", "value"], ["other/score", "3.20"]]
    assert rows[6:] == [
        ["class", "group", "training images", "test images", "AP in percent"],
        ["&lt;dog&gt;", "head", "1,413", "5", "80.12"],
        ["sofa", "medium", "50", "0", "–"],
        ["boat", "tail", "7", "5", "40.00"],
        ["cow", "tail", "4", "5", "20.00"],
    ]


def test_the_page_says_of_what_model_and_how_much_of_the_graph(files):
    page = files["report.html"].decode()
    assert "Test of a model of the config voc after 1 epoch, averaged over" in page
    assert "Of 9 classes the 2 first." in page
    assert "1 before and 0.70 after" in page


def test_thresholds_of_a_checkpoint_have_rows_and_columns_of_their_own():
    classes = [
        dict(each, threshold=0.25, f1=each["average_precision"] / 2) for each in CLASSES
    ]
    scores = {"mF1": 41.0, "mF1_head": 60.0, "CF1": 42.0, "OF1_tail": 9.0, "OF1": 50.0}
    metrics = METRICS | {f"multi-label/{name}": each for name, each in scores.items()}
    report = RunReport(config="voc", phase="test", metrics=metrics, classes=classes)
    rows = rows_of(report_files(report)["report.html"].decode())
    assert rows[1:5] == [
        ["mAP in percent", "46.67", "80.00", "–", "30.00"],
        ["mF1 in percent", "41.00", "60.00", "–", "–"],
        ["CF1 in percent", "42.00", "–", "–", "–"],
        ["OF1 in percent", "50.00", "–", "–", "9.00"],
    ]
    assert [row[0] for row in rows[7:9]] == ["score", "other/score"]
    assert rows[9][5:] == ["threshold", "F1 in percent"]
    assert rows[10] == ["&lt;dog&gt;", "head", "1,413", "5", "80.12", "0.25", "40.06"]


def test_of_many_classes_the_extremes_are_shown_and_all_are_folded():
    classes = [entry(f"class{i}", i, "tail", float(i)) for i in range(201)]
    page = report_files(RunReport("lvis", classes=classes))["report.html"].decode()
    shown, folded = page.split("<details><summary>201 classes</summary>")
    names = [row[0] for row in rows_of(shown) if row[0].startswith("class")]
    numbers = [*range(200, 180, -1), *range(19, -1, -1)]
    assert names[1:] == [f"class{i}" for i in numbers]  # behind the header
    names = [row[0] for row in rows_of(folded) if row[0].startswith("class")]
    assert names[1:] == [f"class{i}" for i in range(200, -1, -1)]
    assert "</details>" in folded


def test_reliability_is_in_the_numbers(files):
    numbers = json.loads(files["report.json"])["reliability"]["after"]["tail"]
    assert numbers["counts"] == [1, 1, 1]
    assert numbers["observed"] == [0, 1, 0]
    assert numbers["ECE"] == pytest.approx((0.1 + 0.1 + 0.95) / 3)


def test_numbers_that_are_none_are_null(files):
    numbers = json.loads(files["report.json"], parse_constant=pytest.fail)
    assert numbers["metrics"]["multi-label/mAP_medium"] is None
    assert numbers["metrics"]["multi-label/mAP"] == METRICS["multi-label/mAP"]
    assert [each["average_precision"] for each in numbers["classes"]] == [
        20.0,
        80.125,
        None,
        40.0,
    ]


def test_what_there_is_nothing_to_say_about_is_left_out():
    files = report_files(RunReport(config="voc"))
    assert set(files) == {"report.html", "report.json"}
    page = files["report.html"].decode()
    assert "nothing was evaluated" in page
    assert "<h2>" not in page


def test_class_maps_are_those_of_some_images_with_their_labels(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "capnet_mm.visualization.report.class_map_sheet",
        lambda images, theme: drawn.append(images) or class_map_sheet(images, theme),
    )
    view = np.zeros((8, 8, 3), np.uint8)
    scores, targets = np.array([0.1, 0.9]), np.array([-1, 1])
    predictions = [
        Prediction(view, scores, targets, view + i, {1: np.eye(3), 0: np.ones((3, 3))})
        for i in range(16)
    ]
    bare = Prediction(view, scores, targets)
    files = report_files(
        RunReport(config="voc", names=["a", "b"], predictions=[bare, *predictions])
    )
    assert "class_maps_dark.png" in files
    assert "Where the classes are seen" in files["report.html"].decode()
    assert [image.pixels[0, 0, 0] for image in drawn[0]] == [0, 3, 6, 9, 12, 15]
    (first, heat), (second, _) = drawn[0][0].maps
    assert (first.name, first.score, first.outcome) == ("b", 0.9, "correct")
    assert (second.name, second.outcome) == ("a", "unknown")
    np.testing.assert_array_equal(heat, np.eye(3))


def test_as_many_labels_are_predicted_as_are_true_and_the_missed_ones_follow():
    scores = np.array([0.1, 0.9, 0.3, 0.2, 0.8])
    targets = np.array([1, 0, 0, 1, 1])
    labels = ranked_labels(scores, targets, list("abcde"))
    assert [(label.name, label.outcome) for label in labels] == [
        ("b", "false"),
        ("e", "correct"),
        ("c", "false"),
        ("d", "missed"),
        ("a", "missed"),
    ]
    assert [label.score for label in labels] == [0.9, 0.8, 0.3, 0.2, 0.1]
    (only,) = ranked_labels(scores, np.array([0, -1, 0, 0, 0]), list("abcde"))
    assert (only.name, only.outcome) == ("b", "unknown")
