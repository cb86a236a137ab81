import math

import pytest

from capnet_mm.visualization.interval_figure import difference_intervals

ROWS = {
    "first $row$": dict(total=(1.0, -0.5, 2.5), tail=(3.0, 1.0, 5.0)),
    "second": dict(total=(-2.0, -4.0, -1.0), tail=(math.nan, math.nan, math.nan)),
}


def test_points_and_lines_are_at_the_differences_and_their_ends():
    figure = difference_intervals(ROWS, "base")
    total, tail = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["total", "tail"]
    zero, points = total.lines
    assert list(points.get_xdata()) == [1.0, -2.0]
    assert list(points.get_ydata()) == [0, 1]
    ends = [segment[:, 0].tolist() for segment in total.collections[0].get_segments()]
    assert ends == [[-0.5, 2.5], [-4.0, -1.0]]
    assert [text.get_text() for text in total.get_yticklabels()] == list(ROWS)
    assert total.get_ylim()[0] > total.get_ylim()[1]  # the first row is on top
    figure.savefig("/dev/null", format="png")


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="no row to compare with base"):
        difference_intervals({}, "base")
