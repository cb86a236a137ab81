"""Drawing a long tail: reference counts, the draw, its reproducibility."""

import numpy as np
import pytest
from scipy import stats

from capnet_mm.datasets import draw_long_tail, pareto_counts


def make_labels(seed=0, num_images=3000, num_classes=12):
    """Many images; class 0 goes along with everything, some images have nothing."""
    rng = np.random.default_rng(seed)
    present = rng.random((num_images, num_classes)) < rng.uniform(
        0.05, 0.25, num_classes
    )
    present[:, 0] |= (rng.random(num_images) < 0.6) & present.any(axis=1)
    return [np.flatnonzero(row).tolist() for row in present]


def count(labels, num_classes):
    return tuple(sum(c in image for image in labels) for c in range(num_classes))


@pytest.mark.parametrize(
    ("max_count", "min_count", "alpha", "quantile"),
    [(800, 1, 6, 0.99), (1200, 1, 6, 0.99), (500, 20, 2.5, 0.9)],
)
def test_reference_counts_follow_scipys_pareto_density(
    max_count, min_count, alpha, quantile
):
    x = np.linspace(1, stats.pareto.ppf(quantile, alpha), 40)
    density = stats.pareto.pdf(x, alpha) / stats.pareto.pdf(1, alpha)
    expected = min_count + (max_count - min_count) * density
    counts = pareto_counts(40, max_count, min_count, alpha, quantile)
    np.testing.assert_allclose(counts, expected - 0.5, atol=0.5 + 1e-6)
    assert counts[0] == max_count
    assert list(counts) == sorted(counts, reverse=True)


def test_defaults_end_where_the_rarest_classes_of_voc_lt_and_coco_lt_are():
    assert pareto_counts(20, max_count=800)[-1] == 4  # cow
    assert pareto_counts(80, max_count=1200)[-1] == 6


def test_without_co_occurrence_every_class_meets_its_aim_exactly():
    labels = [[c] for c in range(8) for _ in range(300)]
    draw = draw_long_tail(labels, 8, max_count=200)
    assert draw.counts == draw.targets == pareto_counts(8, 200)
    assert draw.short == ()


def test_counts_are_those_of_the_images_drawn():
    labels = make_labels()
    draw = draw_long_tail(labels, 12, max_count=400)
    chosen = [labels[index] for index in draw.indices]
    assert list(draw.indices) == sorted(set(draw.indices))
    assert draw.counts == count(chosen, 12)
    assert draw.available == count(labels, 12)
    assert all(chosen)  # no image without labels
    # Co-occurrence spoils the aims, yet what comes out has a long tail.
    last = draw.order[-1]
    assert draw.counts[last] == draw.targets[last]
    assert draw.counts[draw.order[0]] > 20 * draw.counts[last]


def test_classes_are_drawn_from_the_most_co_occurring_on():
    labels = make_labels()
    counts = count(labels, 12)
    rank = [
        sum(
            sum(c in image and other in image for image in labels) / counts[other]
            for other in range(12)
        )
        for c in range(12)
    ]
    draw = draw_long_tail(labels, 12)
    assert list(draw.order) == sorted(range(12), key=lambda c: -rank[c])
    assert draw.order[0] == 0
    assert [draw.targets[c] for c in draw.order] == list(pareto_counts(12, counts[0]))


def test_two_classes_step_by_step():
    """Class 1 never comes without class 0: too much of it is taken out again."""
    labels = [[0]] * 10 + [[0, 1]] * 90
    draw = draw_long_tail(labels, 2, max_count=100)
    assert draw.order == (0, 1)  # ranks 1 + 1 and 0.9 + 1
    assert draw.targets == (100, 1)
    # All 100 are drawn for class 0; class 1 keeps one of its 90.
    assert draw.counts == (11, 1)
    assert set(range(10)) < set(draw.indices)


def test_same_seed_same_draw_and_another_seed_another():
    labels = make_labels()
    first = draw_long_tail(labels, 12, max_count=300, seed=3)
    assert draw_long_tail(labels, 12, max_count=300, seed=3) == first
    other = draw_long_tail(labels, 12, max_count=300, seed=4)
    assert other.indices != first.indices
    assert other.targets == first.targets


def test_every_image_of_a_class_can_be_drawn():
    labels = [[0]] * 30 + [[1]] * 30
    drawn = {
        index
        for seed in range(40)
        for index in draw_long_tail(labels, 2, max_count=15, seed=seed).indices
    }
    assert set(range(30)) <= drawn


def test_a_class_with_too_few_images_keeps_all_and_is_listed():
    labels = [[0]] * 100 + [[1]] * 20 + [[2]] * 2 + [[3]] * 90
    draw = draw_long_tail(labels, 5, max_count=100, min_count=30)
    assert draw.order == (0, 1, 2, 3, 4)  # equal ranks by number, the empty one last
    aims = pareto_counts(5, 100, 30)
    assert draw.targets == aims
    assert draw.counts == (100, 20, 2, aims[3], 0)
    assert draw.short == (1, 2, 4)
    assert set(range(100, 122)) <= set(draw.indices)


def test_repeated_labels_of_an_image_count_once():
    once = draw_long_tail([[0, 1], [0], [1]], 2)
    assert draw_long_tail([[0, 1, 0], [0, 0], [1]], 2) == once


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(labels=[[0], [3]]), "Image 1 has label 3.*0 to 2"),
        (dict(labels=[[0], [-1]]), "Image 1 has label -1"),
        (dict(labels=[[], []]), "None of the 2 images has a label"),
        (dict(labels=[]), "None of the 0 images"),
        (dict(max_count=0), "max_count >= 1, got min_count=1 and max_count=0"),
        (dict(max_count=5, min_count=6), "min_count=6 and max_count=5"),
        (dict(min_count=-1), "min_count=-1"),
        (dict(alpha=0), "alpha must be positive, got 0"),
        (dict(alpha=float("nan")), "alpha must be positive, got nan"),
        (dict(quantile=1), "quantile .* got 1"),
    ],
)
def test_impossible_requests_are_refused(options, message):
    options = {"labels": [[0], [1], [2]], "num_classes": 3, **options}
    with pytest.raises(ValueError, match=message):
        draw_long_tail(**options)
    with pytest.raises(ValueError, match="num_classes must be at least 1"):
        pareto_counts(0, 10)
