"""Labels are what reaches its threshold, calibrated or not."""

import numpy as np
import pytest

from capnet_mm.apis.labels import calibration_of, choose_labels, choose_thresholds

ENTRY = dict(
    classes=["dog", "cat", "tv"],
    thresholds=[0.2, 0.4, 0.6],
    scale=2.0,
    bias=[0.0, 1.0, 2.0],
    shared_bias=0.7,
    shared_threshold=0.3,
)


def test_calibration_goes_by_name_and_new_words_get_the_shared_values():
    found = calibration_of(ENTRY, ["tv", "bird", "dog"])
    np.testing.assert_allclose(found.thresholds, [0.6, 0.3, 0.2])
    np.testing.assert_allclose(found.scale, [2, 2, 2])
    np.testing.assert_allclose(found.bias, [2, 0.7, 0])


def test_without_an_entry_or_a_class_in_common_nothing_is_calibrated():
    assert calibration_of(None, ["dog"]) is None
    assert calibration_of(ENTRY, ["bird"]) is None


def test_thresholds_of_all_ways_to_say_them():
    classes = ["dog", "cat", "tv"]
    found = calibration_of(ENTRY, classes)

    def thresholds(thr, calibration):
        return choose_thresholds(thr, classes, calibration, 0.5).tolist()

    assert thresholds(None, None) == [0.5] * 3
    assert thresholds(None, found) == thresholds("calibrated", found) == [0.2, 0.4, 0.6]
    assert thresholds(0.3, found) == [0.3] * 3
    assert thresholds(dict(cat=0.9), found) == [0.2, 0.9, 0.6]
    assert thresholds(dict(cat=0.9), None) == [0.5, 0.9, 0.5]


@pytest.mark.parametrize(
    "thr, message",
    [
        ("calibrated", "tools/calibrate.py"),
        ("best", "expected a number"),
        (dict(dgo=0.3), "Close names: dog"),
        (1.5, "from 0 to 1"),
    ],
)
def test_thresholds_that_cannot_be_are_refused(thr, message):
    with pytest.raises(ValueError, match=message):
        choose_thresholds(thr, ["dog", "cat"], None, 0.5)


def test_topk_alone_names_just_so_many_and_with_thresholds_at_most_so_many():
    scores, thresholds = np.array([0.1, 0.7, 0.6, 0.2]), np.array([0.5, 0.5, 0.65, 0.1])
    assert choose_labels(scores, thresholds, False, None) == [1, 3]
    assert choose_labels(scores, thresholds, False, 3) == [1, 2, 3]
    assert choose_labels(scores, thresholds, True, 3) == [1, 3]
    assert choose_labels(scores, thresholds, True, 1) == [1]
    assert choose_labels(scores, np.ones(4), False, None) == []
