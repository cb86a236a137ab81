"""The reliability diagram: its points are the bins, in the groups' colours."""

import numpy as np
import pytest
from matplotlib.colors import same_color

from capnet_mm.evaluation import reliability_bins
from capnet_mm.visualization import GROUP_COLORS, THEMES, reliability_diagram


def bins(seed, shift=0.0):
    generator = np.random.default_rng(seed)
    probabilities = generator.random((400, 3)) ** 4  # few that are high
    targets = (generator.random((400, 3)) < probabilities - shift).astype(int)
    return reliability_bins(probabilities, targets)


@pytest.fixture
def reliability():
    empty = reliability_bins(np.zeros((0, 1)), np.zeros((0, 1)))
    groups = dict(head=bins(1), medium=empty, tail=bins(2))
    return dict(
        before=dict(total=bins(0, shift=0.3), **groups),
        after=dict(total=bins(0), **groups),
    )


@pytest.mark.parametrize("theme", THEMES)
def test_points_are_the_bins_before_and_after(reliability, theme):
    figure = reliability_diagram(reliability, theme)
    for axes, when in zip(figure.axes, ("before", "after"), strict=True):
        parts = reliability[when]
        drawn = [name for name in parts if len(parts[name].counts)]
        assert drawn == ["total", "head", "tail"]
        for name, line, points in zip(
            drawn, axes.lines[1:], axes.collections, strict=True
        ):
            expected = np.column_stack([parts[name].predicted, parts[name].observed])
            many = parts[name].counts >= 10
            np.testing.assert_allclose(line.get_xydata(), expected[many])
            np.testing.assert_allclose(points.get_offsets(), expected)
            color = GROUP_COLORS.get(name, THEMES[theme].text)
            assert same_color(line.get_color(), color)
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        error = parts["total"].expected_calibration_error
        assert labels[0] == f"total: ECE {error:.3f}"
    assert [axes.get_title("left") for axes in figure.axes] == [
        "as trained",
        "calibrated",
    ]


def test_a_theme_that_there_is_not_is_refused(reliability):
    with pytest.raises(ValueError, match="expected one of"):
        reliability_diagram(reliability, "sepia")
