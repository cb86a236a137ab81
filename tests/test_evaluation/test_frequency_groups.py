"""Head, medium and tail."""

import math

import pytest

from capnet_mm.evaluation import by_train_count, frequency_groups, group_of
from capnet_mm.evaluation.frequency_groups import highest_and_lowest


def test_thresholds_are_the_smallest_counts_of_head_and_medium():
    groups = frequency_groups([19, 20, 99, 100, 101, 0])
    assert groups == dict(head=(3, 4), medium=(1, 2), tail=(0, 5))


def test_thresholds_are_arguments():
    groups = frequency_groups([1, 5, 9], head_threshold=9, tail_threshold=5)
    assert groups == dict(head=(2,), medium=(1,), tail=(0,))


def test_equal_thresholds_leave_no_medium_class():
    groups = frequency_groups([9, 10], head_threshold=10, tail_threshold=10)
    assert groups == dict(head=(1,), medium=(), tail=(0,))


def test_thresholds_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match="tail_threshold=100 is above"):
        frequency_groups([1], head_threshold=20, tail_threshold=100)


def test_classes_go_by_count_with_equal_ones_in_their_order_and_unknown_ones_last():
    assert by_train_count([4, None, 413, 0, 4, None]) == [2, 0, 4, 3, 1, 5]


def test_each_class_is_in_the_group_that_its_count_says():
    counts = [100, 99, 20, 19, 775]
    group = group_of(frequency_groups(counts))
    assert [group[index] for index in range(5)] == [
        "head",
        "medium",
        "medium",
        "tail",
        "head",
    ]


def test_highest_and_lowest_leave_out_the_middle_and_what_is_not_known():
    values = [5.0, 90.0, math.nan, 70.0, 20.0, 40.0]
    assert highest_and_lowest(values, 2) == [1, 3, 4, 0]
    assert highest_and_lowest(values, 3) == [1, 3, 5, 4, 0]
    assert highest_and_lowest([math.nan], 3) == []
