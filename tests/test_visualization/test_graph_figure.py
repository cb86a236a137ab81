"""Heat maps of the label graph: what is drawn is what was given."""

import numpy as np
import pytest

from capnet_mm.visualization import THEMES, label_graph

THEME_NAMES = pytest.mark.parametrize("theme", THEMES)


def tick_names(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def graph(number, seed=0):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(number, 8))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    weights = generator.random((number, number))
    np.fill_diagonal(weights, 0)
    adjacency = 0.2 * weights / weights.sum(1, keepdims=True) + 0.8 * np.eye(number)
    return features @ features.T, adjacency


def heat_maps(figure):
    """The two maps, before and after, out of axes that include the scales."""
    maps = [axes for axes in figure.axes if axes.images]
    assert len(maps) == 2
    return maps


@THEME_NAMES
def test_heat_maps_show_both_matrices_without_their_diagonals(theme):
    similarity, adjacency = graph(4)
    names = ["cow", "$dog$", "boat", "car"]
    figure = label_graph(names, similarity, adjacency, theme)
    other = ~np.eye(4, dtype=bool)
    for axes, matrix in zip(heat_maps(figure), (similarity, adjacency), strict=True):
        shown = axes.images[0].get_array()
        assert np.ma.getmaskarray(np.ma.masked_invalid(shown))[~other].all()
        np.testing.assert_allclose(np.asarray(shown)[other], matrix[other])
        assert tick_names(axes.xaxis) == tick_names(axes.yaxis) == names
        low, high = axes.images[0].get_clim()
        assert low == pytest.approx(matrix[other].min())
        assert high == pytest.approx(matrix[other].max())


def test_heat_maps_stand_side_by_side_or_below_each_other_when_many():
    for number, same_height in ((20, True), (80, False)):
        names = [f"class {i}" for i in range(number)]
        before, after = heat_maps(label_graph(names, *graph(number)))
        one, two = before.get_position(), after.get_position()
        assert (one.y0 == two.y0) == same_height
        assert (one.x0 == two.x0) != same_height


def test_heat_maps_of_very_many_classes_have_no_names_and_the_same_size():
    similarity, adjacency = graph(1203)
    figure = label_graph([f"c{i}" for i in range(1203)], similarity, adjacency)
    for axes, matrix in zip(heat_maps(figure), (similarity, adjacency), strict=True):
        assert tick_names(axes.xaxis) == tick_names(axes.yaxis) == []
        assert np.asarray(axes.images[0].get_array())[3, 5] == matrix[3, 5]
    assert figure.get_figwidth() <= 12 and figure.get_figheight() <= 25


def test_matrices_that_do_not_fit_the_names_are_refused():
    with pytest.raises(ValueError, match=r"3 names, but .* \(4, 4\)"):
        label_graph(["a", "b", "c"], *graph(4))
    with pytest.raises(ValueError, match="two classes"):
        label_graph(["a"], np.ones((1, 1)), np.ones((1, 1)))
