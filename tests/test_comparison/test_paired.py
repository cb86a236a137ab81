import json

import numpy as np
import pytest
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample
from sklearn.metrics import average_precision_score

from capnet_mm.comparison import paired, table
from capnet_mm.evaluation import LongTailMAP, ScoreFile, resample

CLASSES = ("a", "b", "c")
GROUPS = dict(head=(0,), medium=(), tail=(1, 2))
TARGETS = np.random.default_rng(7).integers(0, 2, (30, 3))


def leave_scores(run, scores, targets=TARGETS):
    """Write what a test with these scores leaves."""
    run.folder.mkdir(parents=True, exist_ok=True)
    path = str(run.scores_file(tta=False))
    evaluator = Evaluator([LongTailMAP(), ScoreFile(path)])
    evaluator.dataset_meta = dict(classes=CLASSES, groups=GROUPS)
    for row, target in zip(scores, targets, strict=True):
        sample = DataSample().set_pred_score(row).set_gt_score(target)
        evaluator.process([sample])
    metrics = evaluator.evaluate(len(scores))
    run.metrics_file(tta=False).write_text(json.dumps(metrics))


@pytest.fixture
def rows(plan, leaf):
    """Rows "base", "same" and "better", two seeds each, and their scores."""
    random = np.random.default_rng(0)
    base = random.normal(size=(2, 30, 3)).astype(np.float32)
    scores = dict(base=base, same=2 * base, better=base + 3 * TARGETS)
    runs = [run for name in scores for run in plan(leaf(name, ""), seeds=(0, 4))]
    for run, found in zip(runs, np.concatenate(list(scores.values())), strict=True):
        leave_scores(run, found.astype(np.float32))
    return table.read_rows(runs), scores


def test_intervals_are_those_of_scikit_learn_on_each_test_set_drawn(rows):
    rows, scores = rows
    found = paired.compare_paired(rows, "base", num_resamples=40)

    def mean_ap(which, images, columns):
        return 100 * np.mean(
            [
                average_precision_score(TARGETS[images, c], seed[images, c])
                for seed in scores[which]
                for c in columns
            ]
        )

    for column, members in dict(total=(0, 1, 2), tail=(1, 2)).items():
        gained = []
        for drawn in resample(30, 40):
            images = np.repeat(np.arange(30), drawn)
            gained.append(
                mean_ap("better", images, members) - mean_ap("base", images, members)
            )
        everything = np.arange(30)
        interval = found.differences["better"][column]
        difference = mean_ap("better", everything, members) - mean_ap(
            "base", everything, members
        )
        assert interval.difference == pytest.approx(difference, abs=1e-4)
        assert interval[1:] == pytest.approx(np.quantile(gained, (0.025, 0.975)))
        assert interval.is_clear


def test_rows_that_rank_alike_do_not_differ_on_any_draw(rows):
    found = paired.compare_paired(rows[0], "base", num_resamples=20)
    assert found.differences["same"]["total"] == pytest.approx((0, 0, 0))
    assert "base" not in found.differences
    text = paired.paired_table(found).to_markdown()
    assert "| same | +0.0 (+0.0 to +0.0) |" in text
    assert "| – |" in text  # no class is medium
    plain = paired.as_plain(found)["differences"]["same"]
    assert plain["medium"] == dict(difference=None, low=None, high=None)
    (figure,) = paired.paired_section(found).figures
    assert figure.light.startswith(b"\x89PNG") and figure.light != figure.dark


def test_tests_on_other_labels_are_refused(rows):
    rows, scores = rows
    leave_scores(rows[1].runs[1], scores["same"][1], 1 - TARGETS)
    with pytest.raises(ValueError, match="same/seed4/scores.npz has other images"):
        paired.compare_paired(rows, "base", num_resamples=2)
