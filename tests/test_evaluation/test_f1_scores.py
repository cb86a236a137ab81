"""mF1, CF1 and OF1: against scikit-learn and MMPretrain."""

import numpy as np
import pytest
import torch
from mmpretrain.evaluation import MultiLabelMetric
from sklearn.metrics import f1_score, precision_score, recall_score

from capnet_mm.evaluation import class_f1, f1_scores


@pytest.fixture
def case():
    generator = np.random.default_rng(0)
    targets = (generator.random((40, 5)) < 0.3).astype(np.int8)
    predicted = generator.random((40, 5)) < 0.2 + 0.5 * targets
    predicted[:, 3] = False  # never predicted
    return predicted, targets


def test_all_three_are_those_of_scikit_learn(case):
    predicted, targets = case
    found = f1_scores(*case)
    options = dict(average="macro", zero_division=0)
    precision = precision_score(targets, predicted, **options)
    recall = recall_score(targets, predicted, **options)
    assert found["mF1"] == pytest.approx(f1_score(targets, predicted, **options))
    assert found["CF1"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert found["OF1"] == pytest.approx(f1_score(targets, predicted, average="micro"))
    np.testing.assert_allclose(
        class_f1(*case), f1_score(targets, predicted, average=None, zero_division=0)
    )


def test_mf1_and_of1_are_mmpretrains(case):
    predicted, targets = map(torch.tensor, case)
    for average, name in (("macro", "mF1"), ("micro", "OF1")):
        scores = MultiLabelMetric.calculate(
            predicted.float(), targets, pred_indices=False, target_indices=False,
            average=average, thr=0.5,
        )  # fmt: skip
        assert 100 * f1_scores(*case)[name] == pytest.approx(scores[2].item(), abs=1e-4)


def test_unknown_labels_and_classes_without_a_positive_are_left_out(case):
    predicted, targets = case
    targets[:10] = -1
    targets[:, 4] = np.minimum(targets[:, 4], 0)
    expected = f1_score(targets[10:, :4], predicted[10:, :4], average="macro")
    assert f1_scores(*case)["mF1"] == pytest.approx(expected)
    assert np.isnan(class_f1(*case)[4])
    # OF1 counts the false positives of every class.
    everything = f1_score(targets[10:], predicted[10:], average="micro")
    assert f1_scores(*case)["OF1"] == pytest.approx(everything)


def test_a_part_of_the_classes_is_judged_alone(case):
    predicted, targets = case
    assert f1_scores(*case, (0, 2)) == f1_scores(
        predicted[:, [0, 2]], targets[:, [0, 2]]
    )
    assert np.isnan(list(f1_scores(*case, ()).values())).all()
