import warnings

import numpy as np
from sklearn.metrics import average_precision_score

from capnet_mm.evaluation import resample, resampled_average_precision


def test_each_test_set_drawn_has_scikit_learns_average_precision():
    random = np.random.default_rng(0)
    scores = random.integers(0, 12, (40, 3)).astype(np.float32)  # many ties
    targets = random.integers(-1, 2, (40, 3))
    targets[:, 2] = 0
    targets[:2, 2] = 1  # often not drawn
    draws = resample(40, 30)
    found = resampled_average_precision(scores, targets, draws)

    expected = np.full((30, 3), np.nan)
    for number, drawn in enumerate(draws):
        images = np.repeat(np.arange(40), drawn)
        for index in range(3):
            images_known = images[targets[images, index] >= 0]
            labels = targets[images_known, index]
            if labels.any():
                expected[number, index] = average_precision_score(
                    labels, scores[images_known, index]
                )
    assert np.isnan(expected[:, 2]).any() and not np.isnan(expected[:, 2]).all()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_no_warning_where_nothing_was_drawn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draws = np.array([[0, 2], [2, 0]])
        scores, targets = np.array([[1.0], [2.0]]), np.array([[1], [0]])
        found = resampled_average_precision(scores, targets, draws)
    np.testing.assert_equal(found, [[np.nan], [1.0]])


def test_draws_have_the_size_of_the_test_set_and_depend_on_the_seed_alone():
    draws = resample(7, 5)
    assert draws.shape == (5, 7) and (draws.sum(1) == 7).all()
    assert (draws == resample(7, 5)).all()
    assert (draws != resample(7, 5, seed=1)).any()
