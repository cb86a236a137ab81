"""What a checkpoint's meta holds of thresholds and calibration."""

import io

import numpy as np
import pytest
import torch

from capnet_mm.evaluation import (
    Calibration,
    Thresholds,
    calibration_meta,
    read_calibration,
)
from capnet_mm.evaluation.stored_calibration import sigmoid

NAMES = ("dog", "cow", "bird")


@pytest.fixture
def stored():
    calibration = Calibration(0.5, np.array([1.0, -1.0, 0.0]), -0.5, np.inf)
    thresholds = Thresholds(np.array([0.0, 1.0, -2.0]), shared=0.5, strength=3.0)
    return calibration_meta(NAMES, calibration, thresholds, wanted="f1")


def test_plain_values_pass_the_safe_loader_unchanged(stored):
    file = io.BytesIO()
    torch.save(dict(meta=dict(calibration=stored)), file)
    file.seek(0)
    assert torch.load(file, weights_only=True)["meta"]["calibration"] == stored


def test_a_logit_at_its_threshold_is_the_same_before_and_after_storing(stored):
    read = read_calibration(stored)
    logits = np.array([[-2.0, 4.0, -4.0]])  # 0.5 x + bias = thresholds
    np.testing.assert_allclose(read.probabilities(logits)[0], read.thresholds)
    np.testing.assert_allclose(read.thresholds, 1 / (1 + np.exp([0.0, -1.0, 2.0])))


def test_classes_are_found_by_name_in_another_order(stored):
    read = read_calibration(stored, ("bird", "dog"))
    assert read.classes == ("bird", "dog")
    np.testing.assert_allclose(read.bias, [0, 1])
    np.testing.assert_allclose(read.scale, [0.5, 0.5])
    np.testing.assert_allclose(read.thresholds, sigmoid(np.array([-2.0, 0.0])))


def test_a_scale_for_each_class_follows_the_names_too(stored):
    read = read_calibration(dict(stored, scale=[1, 2, 3]), NAMES[::-1])
    np.testing.assert_allclose(read.scale, [3, 2, 1])


def test_a_class_without_thresholds_is_named(stored):
    with pytest.raises(ValueError, match=r"none for \['cat'\]. Run tools/calibrate"):
        read_calibration(stored, ("dog", "cat"))


def test_new_classes_have_what_all_share(stored):
    read = read_calibration(stored, ("cat", "cow"), allow_new=True)
    np.testing.assert_allclose(read.scale, [0.5, 0.5])
    np.testing.assert_allclose(read.bias, [-0.5, -1])
    np.testing.assert_allclose(read.thresholds, sigmoid(np.array([0.5, 1.0])))


def test_sigmoid_has_no_overflow():
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(sigmoid(np.array([-1e4, 0, 1e4])), [0, 0.5, 1])
