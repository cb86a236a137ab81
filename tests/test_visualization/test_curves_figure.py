"""Curves of a training: what is drawn is what was given."""

import numpy as np
import pytest
from matplotlib.colors import same_color

from capnet_mm.visualization import GROUP_COLORS, THEMES, Curves, training_curves
from capnet_mm.visualization.curves_figure import running_mean

THEME_NAMES = pytest.mark.parametrize("theme", THEMES)


CURVES = Curves(
    losses=dict(loss=(list(range(10, 610, 10)), [60 / i for i in range(1, 61)])),
    learning_rates=dict(lr=([10, 20], [0.1, 0.2])),
    scores={
        "multi-label/mAP": ([1, 2], [40.0, 50.0]),
        "multi-label/mAP_head": ([1, 2], [60.0, 70.0]),
        "multi-label/mAP_tail": ([1, 2], [10.0, 20.0]),
        "multi-label/other": ([1, 2], [1.0, 2.0]),
    },
)


@THEME_NAMES
def test_curves_are_drawn_from_the_given_numbers(theme):
    figure = training_curves(CURVES, theme)
    loss, rate, score = figure.axes
    steps, losses = CURVES.losses["loss"]
    raw, smooth = loss.lines
    assert raw.get_xdata().tolist() == smooth.get_xdata().tolist() == steps
    assert raw.get_ydata().tolist() == losses
    assert raw.get_alpha() < 0.5
    # A fifteenth of 60 values, made odd: 5.
    assert smooth.get_ydata()[30] == pytest.approx(np.mean(losses[28:33]))
    assert rate.lines[0].get_ydata().tolist() == [0.1, 0.2]
    drawn = {line.get_label(): line for line in score.lines}
    assert list(drawn) == ["mAP 50", "head 70", "tail 20"]
    assert drawn["head 70"].get_ydata().tolist() == [60.0, 70.0]
    assert same_color(drawn["head 70"].get_color(), GROUP_COLORS["head"])
    assert same_color(drawn["tail 20"].get_color(), GROUP_COLORS["tail"])
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "iteration",
        "iteration",
        "epoch",
    ]


def test_curves_that_there_are_none_of_take_no_room():
    figure = training_curves(Curves(CURVES.losses, {}, {}))
    assert [axes.get_title("left") for axes in figure.axes] == ["loss"]
    scores = {"accuracy/top1": ([1], [30.0])}
    figure = training_curves(Curves({}, {}, scores, "iteration"))
    (axes,) = figure.axes
    assert axes.get_xlabel() == "iteration"
    assert axes.lines[0].get_ydata().tolist() == [30.0]
    with pytest.raises(ValueError, match="no loss and no score"):
        training_curves(Curves({}, {}, {}))


@pytest.mark.parametrize("window", [1, 2, 3, 9, 100])
def test_running_mean_is_the_mean_of_the_neighbours_that_there_are(window):
    values = np.random.default_rng(0).normal(size=12)
    expected = [
        np.mean([values[j] for j in range(12) if abs(i - j) <= window // 2])
        for i in range(12)
    ]
    np.testing.assert_allclose(running_mean(values, window), expected)
