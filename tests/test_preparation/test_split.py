"""Drawing a validation set evenly over the classes."""

import random

import pytest

from capnet_mm.preparation import draw_split


def long_tailed_labels(seed):
    """Labels of 600 images; class k is in about one of 2^(k + 1) of them."""
    generator = random.Random(seed)
    return [
        [label for label in range(7) if generator.random() < 2 ** -(label + 1)]
        for _ in range(600)
    ]


def count(labels, indices):
    return [sum(label in labels[index] for index in indices) for label in range(7)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_each_class_gets_its_share(seed, fraction):
    labels = long_tailed_labels(seed)
    first, second = draw_split(labels, 7, fraction, seed)
    assert sorted(first + second) == list(range(600))
    assert abs(len(second) - 600 * fraction) < 7
    for all_of, drawn in zip(
        count(labels, range(600)), count(labels, second), strict=True
    ):
        assert abs(drawn - all_of * fraction) < 3


def test_the_seed_decides():
    labels = long_tailed_labels(0)
    assert draw_split(labels, 7, 0.2, 1) == draw_split(labels, 7, 0.2, 1)
    assert draw_split(labels, 7, 0.2, 1) != draw_split(labels, 7, 0.2, 2)


def test_the_only_image_of_a_class_stays_in_training():
    labels = [[0]] * 9 + [[0, 1]]
    for seed in range(10):
        first, second = draw_split(labels, 2, 0.3, seed)
        assert 9 in first
        assert len(second) == 3


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_a_fraction_lies_between_0_and_1(fraction):
    with pytest.raises(ValueError, match="between 0 and 1"):
        draw_split([[0]], 1, fraction)


def test_an_empty_part_is_refused():
    with pytest.raises(ValueError, match="empty: at least 10 images"):
        draw_split([[0]] * 3, 1, 0.1)
