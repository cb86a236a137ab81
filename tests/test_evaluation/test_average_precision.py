"""Average precision equals scikit-learn's."""

import importlib

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from capnet_mm.evaluation import average_precision


def sklearn_ap(scores, targets):
    """Class by class, over the known entries; NaN without a positive."""
    result = np.full(scores.shape[1], np.nan)
    for c in range(scores.shape[1]):
        known = targets[:, c] >= 0
        if (targets[known, c] == 1).any():
            result[c] = average_precision_score(targets[known, c], scores[known, c])
    return result


def assert_equals_sklearn(scores, targets):
    ours = average_precision(scores, targets)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, sklearn_ap(scores, targets), rtol=0, atol=1e-12)


def random_case(num_images, num_classes, levels, unknown=0.0, seed=0):
    """Scores on so many levels (0: continuous), rare and frequent classes."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(num_images, num_classes))
    if levels:
        scores = np.round(scores * levels / 6) / levels
    rate = np.geomspace(1 / num_images, 0.9, num_classes)
    targets = (rng.random(scores.shape) < rate).astype(np.int8)
    targets[rng.random(scores.shape) < unknown] = -1
    return scores, targets


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("levels", [0, 1, 3, 50])
@pytest.mark.parametrize("unknown", [0.0, 0.4])
def test_equals_sklearn_with_ties_and_unknown_entries(dtype, levels, unknown):
    scores, targets = random_case(400, 30, levels, unknown)
    assert_equals_sklearn(scores.astype(dtype), targets)


@pytest.mark.parametrize("num_images", [1, 2, 3, 5])
def test_equals_sklearn_on_few_images(num_images):
    for seed in range(30):
        assert_equals_sklearn(*random_case(num_images, 8, 2, 0.3, seed))


def test_extreme_cases_equal_sklearn():
    ones = np.ones((5, 4))
    targets = np.array(
        [[1, 0, 0, 1], [1, 0, 0, -1], [1, 1, 0, -1], [1, 0, 0, 0], [1, 0, 0, -1]]
    )
    assert_equals_sklearn(ones, targets)  # all tied: AP = share of positives
    np.testing.assert_allclose(
        average_precision(ones, targets), [1, 0.2, np.nan, 0.5], atol=1e-12
    )
    # 0.0 and -0.0 tie, and so do denormal numbers that are equal only.
    scores = np.array([[0.0, 1e-45], [-0.0, 0.0], [-1.0, 1e-45]], dtype=np.float32)
    assert_equals_sklearn(scores, np.array([[0, 1], [1, 0], [0, 0]]))


def test_scores_are_compared_in_the_precision_they_come_in():
    scores = np.array([[1.0], [1.0 + 2**-40]])
    targets = np.array([[0], [1]])
    assert average_precision(scores, targets)[0] == 1.0
    assert average_precision(scores.astype(np.float32), targets)[0] == 0.5
    assert_equals_sklearn(scores.astype(np.float32), targets)


def test_order_of_the_images_does_not_matter():
    scores, targets = random_case(300, 20, 4, 0.2)
    order = np.random.default_rng(1).permutation(300)
    np.testing.assert_array_equal(
        average_precision(scores, targets),
        average_precision(scores[order], targets[order]),
    )


def test_chunks_of_classes_give_the_same(monkeypatch):
    module = importlib.import_module("capnet_mm.evaluation.average_precision")
    scores, targets = random_case(50, 23, 5, 0.2)
    whole = average_precision(scores, targets)
    for entries in (1, 50, 50 * 7, 50 * 23):
        monkeypatch.setattr(module, "_CHUNK_ENTRIES", entries)
        np.testing.assert_array_equal(average_precision(scores, targets), whole)


def test_infinite_scores_rank_first_and_last():
    scores = np.array([[np.inf], [0.0], [-np.inf], [-np.inf]])
    targets = np.array([[1], [0], [1], [0]])
    assert average_precision(scores, targets)[0] == pytest.approx(0.5 * (1 + 2 / 4))


def test_class_without_a_positive_is_nan_whether_negative_or_unknown():
    scores, targets = np.zeros((3, 3)), np.array([[0, -1, 1]] * 3)
    assert np.isnan(average_precision(scores, targets)).tolist() == [True, True, False]
    assert np.isnan(average_precision(np.zeros((0, 2)), np.zeros((0, 2)))).all()
    assert average_precision(np.zeros((3, 0)), np.zeros((3, 0))).shape == (0,)


@pytest.mark.parametrize("chunk_entries", [20, 2**22])
def test_nan_scores_are_refused_and_located(monkeypatch, chunk_entries):
    module = importlib.import_module("capnet_mm.evaluation.average_precision")
    monkeypatch.setattr(module, "_CHUNK_ENTRIES", chunk_entries)
    scores, targets = random_case(20, 5, 0)
    scores[7, 3] = np.nan
    with pytest.raises(ValueError, match="image 7 for class 3 is NaN"):
        average_precision(scores, targets)


def test_targets_that_are_no_labels_are_refused_and_located():
    scores, targets = random_case(20, 5, 0)
    with pytest.raises(ValueError, match="image 4 for class 2 is 0.5"):
        soft = targets.astype(float)
        soft[4, 2] = 0.5
        average_precision(scores, soft)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(2, 3\)"):
        average_precision(np.zeros((3, 2)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"\(3,\)"):
        average_precision(np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("outlier", [1e30, -1e30, 1e-40, np.inf, -np.inf])
def test_scores_of_any_range_are_ranked_exactly(dtype, outlier):
    """Also where all but one fall in a single bin, or none has a finite width."""
    scores, targets = random_case(400, 6, levels=0)
    scores[0], scores[1] = outlier, -outlier
    targets[0], targets[1] = 1, 0
    result = average_precision(scores.astype(dtype), targets)
    ranks = np.unique(scores.astype(dtype), return_inverse=True)[1]
    expected = sklearn_ap(ranks.reshape(scores.shape), targets)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


def test_scores_that_differ_by_the_smallest_number_are_told_apart():
    scores = np.array([[0.0], [5e-324], [1e-323], [5e-324]])
    assert_equals_sklearn(scores, np.array([[0], [1], [0], [1]]))
