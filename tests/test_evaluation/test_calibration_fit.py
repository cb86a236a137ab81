"""CalibrationFit: what it finds, and that its scores are cross-validated."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.registry import METRICS
from mmpretrain.structures import DataSample
from sklearn.metrics import f1_score, log_loss

from capnet_mm.evaluation import CalibrationFit, read_calibration

META = dict(classes=("dog", "cow", "bird"))


def case(num_images=600, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(num_images, 3, generator=generator)
    chance = (0.5 * logits - torch.tensor([1.0, 2.0, 3.0])).sigmoid()
    return logits, (torch.rand(num_images, 3, generator=generator) < chance).long()


def evaluate(logits, targets, with_logits=True, **options):
    metric = METRICS.build(dict(type="CalibrationFit", **options))
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = META
    samples = []
    for row, target in zip(logits, targets, strict=True):
        sample = DataSample().set_gt_score(target).set_pred_score(row.sigmoid())
        if with_logits:
            sample.set_field(row, "pred_logits")
        samples.append(sample)
    evaluator.process(samples)
    return metric, evaluator.evaluate(len(samples))


def test_what_is_found_calibrates_and_beats_a_half_on_other_images():
    metric, _ = evaluate(*case())
    assert metric.fitted["classes"] == list(META["classes"])
    assert metric.fitted["scale"] == pytest.approx(0.5, abs=0.1)
    np.testing.assert_allclose(metric.fitted["bias"], [-1, -2, -3], atol=0.6)
    found = read_calibration(metric.fitted)
    logits, targets = case(num_images=5000, seed=1)
    probabilities = found.probabilities(logits.numpy())
    f1 = [
        f1_score(targets, predicted, average="macro")
        for predicted in (probabilities >= found.thresholds, logits >= 0)
    ]
    assert f1[0] > f1[1] + 0.02
    assert log_loss(targets.ravel(), probabilities.ravel()) < log_loss(
        targets.ravel(), logits.sigmoid().ravel().double()
    )


def test_scores_before_are_those_of_the_plain_sigmoid_at_a_half():
    logits, targets = case()
    _, scores = evaluate(logits, targets)
    expected = 100 * f1_score(targets, logits >= 0, average="macro")
    assert scores["multi-label/mF1_before"] == pytest.approx(expected)
    expected = log_loss(targets.ravel(), logits.sigmoid().ravel().double())
    assert scores["multi-label/log_loss_before"] == pytest.approx(expected, rel=1e-5)


def test_scores_after_are_no_better_than_other_images_show():
    """Labels of pure chance: thresholds that saw them promise more than they keep."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(100, 3, generator=generator)
    targets = (torch.rand(100, 3, generator=generator) < 0.05).long()
    metric, scores = evaluate(logits, targets)
    found = read_calibration(metric.fitted)
    seen = found.probabilities(logits.numpy()) >= found.thresholds
    assert scores["multi-label/mF1"] < 100 * f1_score(targets, seen, average="macro")


def test_a_head_that_gives_probabilities_alone_is_calibrated_the_same():
    logits, targets = case()
    with_logits, _ = evaluate(logits, targets)
    without, _ = evaluate(logits, targets, with_logits=False)
    assert without.fitted["scale"] == pytest.approx(with_logits.fitted["scale"], 1e-3)


def test_a_wanted_precision_is_noted_and_thresholds_rise():
    f1, _ = evaluate(*case())
    precise, _ = evaluate(*case(), precision=0.8)
    assert precise.fitted["wanted"] == "precision=0.8" and f1.fitted["wanted"] == "f1"
    assert np.all(
        np.subtract(precise.fitted["thresholds"], f1.fitted["thresholds"]) > 0
    )


def test_a_precision_that_is_no_share_is_refused():
    with pytest.raises(
        ValueError, match=r"precision=90: expected a number in \(0, 1\)"
    ):
        CalibrationFit(precision=90)
