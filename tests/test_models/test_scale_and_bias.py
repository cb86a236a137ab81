import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from capnet_mm.models.scale_and_bias import fit_scale_and_bias, known_loss


@pytest.fixture
def drawn():
    """Cosines of 200 images and 4 classes, and labels drawn by a known logistic law."""
    random = np.random.default_rng(0)
    cosines = random.normal(0.25, 0.03, (200, 4))
    odds = 40 * cosines + np.array([-11, -12, -13, -9])
    labels = (random.random(odds.shape) < 1 / (1 + np.exp(-odds))).astype(float)
    labels[random.random(labels.shape) < 0.1] = -1
    return torch.tensor(cosines), torch.tensor(labels)


def test_scale_and_shared_bias_are_those_of_scikit_learns_logistic_regression(drawn):
    cosines, labels = drawn
    known = labels >= 0
    column = cosines[known].numpy()[:, None]
    regression = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    regression.fit(column, labels[known].numpy())
    found = fit_scale_and_bias(cosines, labels)
    assert found.scale == pytest.approx(regression.coef_.item(), rel=1e-4)
    assert found.bias.tolist() == pytest.approx(regression.intercept_, rel=1e-4)
    logits = found.scale * cosines + found.bias
    assert found.loss == pytest.approx(known_loss(logits, labels))


def test_a_bias_for_every_class_is_drawn_to_the_shared_one_as_by_its_prior(drawn):
    cosines, labels = (tensor.numpy() for tensor in drawn)
    known = labels >= 0

    def objective(values):
        logits = values[0] * cosines + values[1] + values[2:]
        fit = np.logaddexp(0, logits) - labels * logits
        return fit[known].sum() + (values[2:] ** 2).sum() / (2 * 2.0**2)

    best = minimize(objective, np.zeros(6), method="BFGS", options=dict(gtol=1e-6)).x
    found = fit_scale_and_bias(*drawn, num_biases=4)
    assert found.scale == pytest.approx(best[0], rel=1e-3)
    np.testing.assert_allclose(found.bias, best[1] + best[2:], rtol=1e-3)


def test_out_of_range_the_scale_is_its_end_and_the_bias_the_best_beside_it(drawn):
    found = fit_scale_and_bias(*drawn, scale_range=(1.0, 10.0))
    assert found.scale == 10
    losses = [
        known_loss(10 * drawn[0] + found.bias + d, drawn[1]) for d in (-0.01, 0.01)
    ]
    assert found.loss < min(losses)
    against = fit_scale_and_bias(-drawn[0], drawn[1])  # the wrong way round
    assert against.scale == 1


def test_without_bias_only_the_scale_is_fitted(drawn):
    cosines, labels = drawn[0] - 0.3, drawn[1]
    found = fit_scale_and_bias(cosines, labels, num_biases=0)
    assert found.bias.shape == (0,)
    for factor in (0.99, 1.01):
        assert found.loss < known_loss(factor * found.scale * cosines, labels)


def test_labels_of_one_kind_and_nan_are_refused(drawn):
    cosines, labels = drawn
    with pytest.raises(ValueError, match=r"got the labels \[0.0\]"):
        fit_scale_and_bias(cosines, labels.clamp(max=0))
    with pytest.raises(ValueError, match="finite"):
        fit_scale_and_bias(cosines * torch.nan, labels)
