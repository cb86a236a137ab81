"""Scale and bias of logits: against scikit-learn, and on data made to a known law."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss

from capnet_mm.evaluation.calibration import (
    choose_calibration,
    fit_calibration,
    log_loss,
    reliability_bins,
    split_folds,
    training_and_test,
)


def case(num_images=4000, bias=(-1.0, -1.0, -3.0), scale=0.5, seed=0):
    """Logits, and targets drawn from sigmoid(scale * logit + bias)."""
    generator = np.random.default_rng(seed)
    logits = 3 * generator.standard_normal((num_images, len(bias)))
    odds = np.exp(-(scale * logits + bias))
    return logits, (generator.random(logits.shape) < 1 / (1 + odds)).astype(np.int8)


def test_a_shared_scale_and_bias_are_those_of_logistic_regression():
    logits, targets = case(bias=(-1.0, -2.0))
    found = fit_calibration(logits, targets, np.inf)
    model = LogisticRegression(C=1e10).fit(logits.reshape(-1, 1), targets.ravel())
    assert found.scale == pytest.approx(model.coef_.item(), rel=2e-3)
    np.testing.assert_allclose(found.bias, model.intercept_.repeat(2), rtol=2e-3)


def test_biases_of_the_classes_are_those_of_ridge_on_their_indicators():
    logits, targets = case(num_images=5000)
    found = fit_calibration(logits, targets, prior_weight=200.0)
    # The same model for scikit-learn: columns of the logits and of a constant, both
    # hardly penalised, and an indicator for each class, penalised with λ.
    images, classes = logits.shape
    columns = np.zeros((images, classes, 2 + classes))
    columns[..., 0], columns[..., 1] = 100 * logits, 100
    columns[..., 2:] = np.eye(classes)
    model = LogisticRegression(
        C=1 / 200.0, fit_intercept=False, solver="newton-cholesky"
    )
    model.fit(columns.reshape(-1, 2 + classes), targets.ravel())
    scale, bias, *deviations = model.coef_[0]
    assert np.ptp(deviations) > 0.5  # shrunk, from 2
    assert found.scale == pytest.approx(100 * scale, rel=5e-3)
    np.testing.assert_allclose(found.bias, 100 * bias + deviations, rtol=5e-3)


def test_the_law_that_made_the_labels_is_found():
    logits, targets = case(num_images=20000)
    found = fit_calibration(logits, targets, prior_weight=1.0)
    assert found.scale == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(found.bias, (-1, -1, -3), atol=0.1)


def test_unknown_labels_are_left_out():
    logits, targets = case()
    hidden = np.random.default_rng(1).random(targets.shape) < 0.3
    poisoned = np.where(hidden, 50.0, logits)
    found = fit_calibration(poisoned, np.where(hidden, -1, targets), 1.0)
    again = fit_calibration(
        np.where(hidden, 0.0, logits), np.where(hidden, -1, targets), 1.0
    )
    assert found.scale == pytest.approx(again.scale, rel=1e-5)
    np.testing.assert_allclose(found.bias, (-1, -1, -3), atol=0.2)


def test_a_rare_class_keeps_the_shared_bias_and_a_frequent_one_its_own():
    logits, targets = case(num_images=3000, bias=(-1.0, -1.0, -1.0, -3.0, -3.0))
    targets[60:, 3] = -1  # known of 60 images
    shared = fit_calibration(logits, targets, np.inf).bias[0]
    bias = fit_calibration(logits, targets, 10.0).bias
    assert bias[4] < bias[3] < shared < -0.9
    assert abs(bias[4] + 3) < 0.3


def test_separable_scores_give_finite_numbers():
    targets = np.eye(4, dtype=np.int8)
    found = fit_calibration(20.0 * targets - 10, targets, 1.0)
    assert 0 < found.scale < 100 and np.isfinite(found.bias).all()


@pytest.mark.parametrize("label", [0, 1])
def test_labels_of_one_kind_alone_are_refused(label):
    with pytest.raises(ValueError, match="needs both"):
        fit_calibration(np.zeros((4, 2)), np.full((4, 2), label), 1.0)


@pytest.mark.parametrize(
    ("bias", "is_shared"), [((-2.0,) * 12, True), (tuple(range(-6, 6)), False)]
)
def test_cross_validation_tells_one_bias_from_many(bias, is_shared):
    logits, targets = case(num_images=300, bias=bias)
    found, held_out = choose_calibration(logits, targets, split_folds(300))
    assert (found.prior_weight >= 30) == is_shared
    # Held out, and so a little worse than on what it was fitted to.
    assert log_loss(held_out, targets) > log_loss(found.apply(logits), targets)
    assert log_loss(held_out, targets) < log_loss(logits, targets)


def test_folds_hold_each_image_out_once():
    folds = split_folds(23)
    parts = list(training_and_test(folds))
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(23))
    assert all(sorted([*fit, *test]) == list(range(23)) for fit, test in parts)
    with pytest.raises(ValueError, match="3 images cannot be split"):
        split_folds(3)


def test_log_loss_is_scikit_learns():
    logits, targets = case(num_images=50)
    expected = sklearn_log_loss(targets.ravel(), 1 / (1 + np.exp(-logits.ravel())))
    assert log_loss(logits, targets) == pytest.approx(expected)
    targets[:, 1] = -1
    known = targets.ravel() >= 0
    expected = sklearn_log_loss(
        targets.ravel()[known], 1 / (1 + np.exp(-logits.ravel()[known]))
    )
    assert log_loss(logits, targets) == pytest.approx(expected)
    assert np.isnan(log_loss(logits, np.full_like(targets, -1)))


def test_reliability_bins_are_scikit_learns_calibration_curve():
    logits, targets = case(num_images=500)
    probabilities = 1 / (1 + np.exp(-logits))
    bins = reliability_bins(probabilities, targets)
    observed, predicted = calibration_curve(
        targets.ravel(), probabilities.ravel(), n_bins=15
    )
    np.testing.assert_allclose(bins.observed, observed)
    np.testing.assert_allclose(bins.predicted, predicted)
    assert bins.counts.sum() == targets.size
    gap = (np.abs(observed - predicted) * bins.counts).sum() / targets.size
    assert bins.expected_calibration_error == pytest.approx(gap)


def test_a_perfect_forecast_has_no_calibration_error_and_a_wrong_one_has():
    targets = np.array([[1, 0, 1, 0, -1]])
    perfect = reliability_bins(np.where(targets == 1, 1.0, 0.0), targets)
    assert perfect.expected_calibration_error == 0
    assert perfect.counts.tolist() == [2, 2]  # the last bin holds 1.0 too
    wrong = reliability_bins(np.where(targets == 1, 0.0, 1.0), targets)
    assert wrong.expected_calibration_error == 1
    nothing = reliability_bins(np.zeros((1, 2)), np.full((1, 2), -1))
    assert np.isnan(nothing.expected_calibration_error)
