"""Bars of average precision: what is drawn is what was given."""

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.patches import Rectangle, StepPatch

from capnet_mm.visualization import GROUP_COLORS, THEMES, per_class_ap

from .conftest import entry

THEME_NAMES = pytest.mark.parametrize("theme", THEMES)


CLASSES = [
    entry("cow", 4, "tail", 20.0),
    entry("$dog$_1", 413, "head", 80.0),
    entry("sofa", 50, "medium", float("nan"), 0),
    entry("boat", 4, "tail", 40.0),
    entry("car", 60, "medium", 50.0),
]


def bars(axes):
    """(place, height, colour) of the bars, by place."""
    found = [
        (patch.get_x() + patch.get_width() / 2, patch.get_height(), patch)
        for patch in axes.patches
        if isinstance(patch, Rectangle)
    ]
    return sorted(
        (round(place, 6), height, patch.get_facecolor())
        for place, height, patch in found
    )


def tick_names(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


@THEME_NAMES
def test_bars_are_the_precisions_by_training_count_in_the_groups_colours(theme):
    figure = per_class_ap(CLASSES, theme)
    top, bottom = figure.axes
    # Equal counts keep their order; sofa has no bar, a bar of 0 would be a lie.
    expected = [(0, 80, "head"), (1, 50, "medium"), (3, 20, "tail"), (4, 40, "tail")]
    expected = [bar for bar in expected if bar[0] != 1] + [(1, 50, "medium")]
    for (place, height, color), (at, precision, group) in zip(
        bars(top), sorted(expected), strict=True
    ):
        assert (place, height) == (at, precision)
        assert same_color(color, GROUP_COLORS[group])
    assert tick_names(bottom.xaxis) == ["$dog$_1", "car", "sofa", "cow", "boat"]
    assert [height for _, height, _ in bars(bottom)] == [413, 60, 50, 4, 4]
    assert bottom.get_yscale() == "symlog"


def test_a_class_without_a_positive_is_marked_as_absent():
    top = per_class_ap(CLASSES).axes[0]
    crosses = [line for line in top.lines if line.get_marker() == "x"]
    assert [line.get_xdata().tolist() for line in crosses] == [[2]]


def test_the_legend_states_size_and_mean_of_each_group():
    (legend,) = per_class_ap(CLASSES).legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [
        "head (1): mAP 80.0",
        "medium (2): mAP 50.0",
        "tail (2): mAP 30.0",
        "no positive in the test set",
    ]


def test_without_counts_and_groups_there_is_one_colour_in_the_given_order():
    classes = [entry(n, None, None, p) for n, p in (("a", 10.0), ("b", 30.0))]
    (axes,) = per_class_ap(classes, "dark").axes
    assert [(place, height) for place, height, _ in bars(axes)] == [(0, 10), (1, 30)]
    assert all(same_color(c, THEMES["dark"].accent) for _, _, c in bars(axes))
    assert tick_names(axes.xaxis) == ["a", "b"]


def test_many_classes_are_one_shape_a_group_in_a_figure_of_the_same_width():
    counts = np.arange(1203)[::-1]
    classes = [
        entry(f"class {i}", int(n), "head" if n >= 100 else "tail", i / 12.03)
        for i, n in enumerate(counts)
    ]
    figure = per_class_ap(classes)
    assert figure.get_figwidth() <= 12
    top, bottom = figure.axes
    shapes = [patch for patch in top.patches if isinstance(patch, StepPatch)]
    assert len(shapes) == 2 and len(top.patches) == 2
    drawn = np.nanmax([shape.get_data().values for shape in shapes], axis=0)
    np.testing.assert_allclose(drawn, np.arange(1203) / 12.03)
    assert not tick_names(bottom.xaxis)
    assert bottom.get_xlabel().startswith("1,203 classes")


def test_three_and_a_hundred_classes_have_all_their_names():
    for number in (3, 100):
        classes = [entry(f"c{i}", 500 - i, "head", 50.0) for i in range(number)]
        names = tick_names(per_class_ap(classes).axes[1].xaxis)
        assert names == [f"c{i}" for i in range(number)]


def test_an_unknown_theme_and_nothing_to_draw_are_refused():
    with pytest.raises(ValueError, match="theme='red'"):
        per_class_ap(CLASSES, "red")
    with pytest.raises(ValueError, match="no class"):
        per_class_ap([])
