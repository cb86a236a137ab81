import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from capnet_mm.models import OneEvidence, ScoreFusion, TextAlone


def drawn(num_images=600, seed=0):
    """Labels, text that knows little, a prior that knows class 0 well."""
    random = np.random.RandomState(seed)
    targets = random.rand(num_images, 3) < [0.1, 0.3, 0.5]
    noise = random.randn(2, num_images, 3)
    text = targets + noise[0]
    prior = targets * [3.0, 0.0, 0.0] + noise[1]
    evidence = torch.tensor(np.stack([text, prior]), dtype=torch.float32)
    return evidence, torch.tensor(targets).int()


def fitted(evidence, targets, counts=None, **options):
    fusion = ScoreFusion(trained=(True, False), num_classes=3, **options)
    counts = (targets == 1).sum(0).tolist() if counts is None else counts
    fusion.fit(evidence, targets, counts)
    return fusion


def test_unfitted_it_adds_up_what_was_trained():
    evidence, _ = drawn(5)
    fusion = ScoreFusion((True, False), 3)
    torch.testing.assert_close(fusion(evidence), evidence[0])
    torch.testing.assert_close(TextAlone()(evidence), evidence[0])


def test_the_weights_maximise_the_penalised_likelihood():
    evidence, targets = drawn()
    fusion = fitted(evidence, targets, damping=5.0, ridge=2.0)
    x = evidence.double().numpy()
    x = (x - x.mean(1, keepdims=True)) / x.std(1, ddof=1, keepdims=True)
    y = targets.numpy()
    n = y.sum(0)
    damping = np.stack([n / (n + 5.0), np.ones(3)])

    def objective(p):
        share, deviation, bias = p[:2], p[2:8].reshape(2, 3), p[8:]
        weight = (share[:, None] + deviation) * damping
        logits = (weight[:, None] * x).sum(0) + bias
        loss = np.logaddexp(0, logits) - y * logits
        return loss.sum() + 2.0 * (deviation**2).sum()

    best = minimize(objective, np.zeros(11), method="BFGS")
    share, deviation = best.x[:2], best.x[2:8].reshape(2, 3)
    np.testing.assert_allclose(fusion.share, share, atol=2e-3)
    np.testing.assert_allclose(
        fusion.weight, (share[:, None] + deviation) * damping, atol=2e-3
    )


def test_a_class_whose_word_is_known_leans_on_the_word():
    fusion = fitted(*drawn())
    assert fusion.weight[1, 0] > 2 * fusion.weight[1, 1:].abs().max()


def test_without_a_training_image_the_prior_is_alone():
    evidence, targets = drawn()
    targets[:, 2] = 0
    fusion = fitted(evidence, targets, counts=[60, 180, 0])
    assert fusion.weight[0, 2] == 0
    assert fusion.weight[1, 2] > 0


def test_unknown_labels_do_not_count():
    evidence, targets = drawn()
    unknown = targets.clone()
    unknown[::3] = -1
    known = torch.ones(len(targets), dtype=torch.bool)
    known[::3] = False
    counts = (unknown == 1).sum(0).tolist()
    found = fitted(evidence, unknown, counts)
    # Standardised alike, since the center and spread are of all images.
    evidence = (evidence - found.center[:, None]) / found.spread[:, None]
    again = ScoreFusion((True, False), 3)
    again_share, again_weight, _ = again._most_likely(
        evidence[:, known].double(), unknown[known], torch.tensor(counts).double()
    )
    np.testing.assert_allclose(found.share, again_share, atol=1e-3)
    np.testing.assert_allclose(found.weight, again_weight, atol=1e-3)


def test_fitted_scores_are_calibrated_logits():
    evidence, targets = drawn(4000)
    scores = fitted(evidence, targets)(evidence).sigmoid()
    np.testing.assert_allclose(
        scores.mean(0), (targets == 1).float().mean(0), atol=5e-3
    )


def test_classes_can_be_picked():
    evidence, targets = drawn()
    fusion = fitted(evidence, targets)
    picked = torch.tensor([2, 0])
    torch.testing.assert_close(
        fusion(evidence[..., picked], picked), fusion(evidence)[:, picked]
    )


def test_evidence_that_is_not_finite_is_refused():
    evidence, targets = drawn()
    evidence[1, 3, 0] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        fitted(evidence, targets)


def test_a_state_dict_brings_the_fit():
    evidence, targets = drawn()
    fusion, other = fitted(evidence, targets), ScoreFusion((True, False), 3)
    other.load_state_dict(fusion.state_dict())
    assert bool(other.fitted)
    torch.testing.assert_close(other(evidence), fusion(evidence))


def test_one_evidence_alone_is_taken_as_it_is():
    evidence = torch.randn(3, 4, 5)
    told = dict(trained=(True, True, False), num_classes=5)
    torch.testing.assert_close(OneEvidence(**told)(evidence), evidence[2])
    torch.testing.assert_close(OneEvidence(**told, index=1)(evidence), evidence[1])
    torch.testing.assert_close(
        OneEvidence(**told).of_new_classes(evidence), evidence[0]
    )
