"""Thresholds: against a search over all of them, and on classes of a known law."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from capnet_mm.evaluation import f1_scores, split_folds
from capnet_mm.evaluation.thresholds import (
    STRENGTHS,
    choose_strength,
    class_threshold,
    shared_threshold,
    shrink,
    shrunk_thresholds,
)


def case(num_images=200, rates=(0.4, 0.2, 0.05), seed=0):
    """Calibrated logits with ties, and their targets."""
    generator = np.random.default_rng(seed)
    prior = np.log(rates) - np.log1p(-np.asarray(rates))
    logits = generator.normal(prior, 2.0, (num_images, len(rates))).round(1)
    targets = generator.random(logits.shape) < 1 / (1 + np.exp(-logits))
    return logits, targets.astype(np.int8)


@pytest.mark.parametrize("seed", range(3))
def test_no_threshold_of_a_class_has_a_higher_f1(seed):
    scores, targets = (array[:, 1] for array in case(seed=seed))
    found = f1_score(targets, scores >= class_threshold(scores, targets))
    best = max(f1_score(targets, scores >= each) for each in np.unique(scores))
    assert found == pytest.approx(best)


@pytest.mark.parametrize("wanted", [0.5, 0.8])
def test_a_wanted_precision_is_reached_with_the_most_recall(wanted):
    scores, targets = (array[:, 0] for array in case())
    predicted = scores >= class_threshold(scores, targets, wanted)
    assert precision_score(targets, predicted) >= wanted
    most = max(
        recall_score(targets, scores >= each)
        for each in np.unique(scores)
        if precision_score(targets, scores >= each) >= wanted
    )
    assert recall_score(targets, predicted) == pytest.approx(most)


def test_a_precision_out_of_reach_gives_the_highest_there_is():
    scores = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    targets = np.array([0, 1, 1, 0, 0])
    assert class_threshold(scores, targets, precision=0.9) == 2.5  # 2 of 3


def test_unknown_labels_move_no_threshold():
    scores = np.array([4.0, 3.5, 3.0, 1.0, 0.0])
    targets = np.array([1, -1, 1, 0, 0])
    assert class_threshold(scores, targets) == 2.0
    assert np.isnan(class_threshold(scores, np.array([0, -1, 0, 0, 0])))


def test_the_shared_threshold_has_the_best_mean_f1_of_all():
    logits, targets = case()
    found = f1_scores(logits >= shared_threshold(logits, targets), targets)["mF1"]
    every = np.unique(logits[targets == 1])
    best = max(f1_scores(logits >= each, targets)["mF1"] for each in every)
    assert found == pytest.approx(best, abs=0.01)
    with pytest.raises(ValueError, match="no positive label"):
        shared_threshold(logits, np.zeros_like(targets))


def test_a_class_weighs_as_its_positives_against_the_strength():
    own, positives = np.array([4.0, 2.0, np.nan]), np.array([30, 3, 0])
    found = shrink(own, positives, shared=1.0, strength=10.0)
    np.testing.assert_allclose(found, [3.25, 1 + 3 / 13, 1.0])
    np.testing.assert_allclose(shrink(own, positives, 1.0, 0.0), [4.0, 2.0, 1.0])
    np.testing.assert_allclose(shrink(own, positives, 1.0, np.inf), [1.0, 1.0, 1.0])


def test_shrunk_thresholds_put_the_parts_together():
    logits, targets = case()
    found = shrunk_thresholds(logits, targets, strength=10.0)
    assert found.shared == shared_threshold(logits, targets)
    own = [class_threshold(logits[:, c], targets[:, c]) for c in range(3)]
    np.testing.assert_allclose(
        found.values, shrink(np.array(own), targets.sum(0), found.shared, 10.0)
    )


def test_thresholds_of_rare_classes_are_held_together_and_held_out_f1_gains():
    """40 classes of one law with some 6 positives: what differs among them is noise."""
    rates = (0.03,) * 40
    logits, targets = case(rates=rates)
    strength, _ = choose_strength(logits, targets, np.inf, [split_folds(200)])
    assert strength in STRENGTHS
    many, truth = case(num_images=20000, rates=rates, seed=1)
    scores = {
        k: f1_scores(many >= shrunk_thresholds(logits, targets, k).values, truth)["mF1"]
        for k in (0.0, strength)
    }
    assert scores[strength] > scores[0.0] + 0.003


def test_thresholds_of_frequent_classes_of_different_laws_are_their_own():
    """A precision asks for another threshold of each class that separates less."""
    generator = np.random.default_rng(0)
    targets = (generator.random((3000, 6)) < 0.3).astype(np.int8)
    shift = np.array([0, 0, 0, 4, 4, 4])  # not calibrated: the classes differ
    logits = generator.normal(3.0 * targets + shift, 1.0)
    strength, predicted = choose_strength(logits, targets, np.inf, [split_folds(3000)])
    assert strength <= 10
    assert f1_scores(predicted, targets)["mF1"] > 0.8


def test_held_out_predictions_come_close_to_a_wanted_precision():
    logits, targets = case(num_images=2000, rates=(0.4, 0.3, 0.2))
    folds = [split_folds(2000)]
    strength, predicted = choose_strength(logits, targets, np.inf, folds, precision=0.8)
    assert strength in STRENGTHS
    reached = precision_score(targets, predicted, average="macro")
    assert reached == pytest.approx(0.8, abs=0.03)
