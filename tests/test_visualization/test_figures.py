"""Figures: what is drawn is what was given."""

import io
import warnings

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.patches import Rectangle, StepPatch
from PIL import Image

from capnet_mm.visualization import (
    GROUP_COLORS,
    THEMES,
    Curves,
    SheetLabel,
    SheetPicture,
    label_graph,
    per_class_ap,
    prediction_sheet,
    render_png,
    training_curves,
)
from capnet_mm.visualization.figures import OUTCOME_SYMBOLS, running_mean

THEME_NAMES = pytest.mark.parametrize("theme", THEMES)


def entry(name, count, group, precision, positives=5):
    return dict(
        name=name,
        train_count=count,
        group=group,
        num_positives=positives,
        average_precision=precision,
    )


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


def picture(*labels, size=(30, 40)):
    image = np.full((*size, 3), 128, np.uint8)
    return SheetPicture(image, [SheetLabel(*label) for label in labels])


@THEME_NAMES
def test_labels_stand_with_symbol_colour_and_score(theme):
    labels = [
        ("$dog$", 0.987, "correct"),
        ("cat", 0.5, "false"),
        ("cow", 0.04, "missed"),
        ("car", 0.3, "unknown"),
    ]
    figure = prediction_sheet([picture(*labels)], theme)
    texts = figure.texts
    heights = {text.get_text(): text.get_position()[1] for text in texts}
    for name, score, outcome in labels:
        y = heights[name]
        row = {t.get_text(): t for t in texts if t.get_position()[1] == y}
        symbol = OUTCOME_SYMBOLS[outcome]
        assert set(row) == {name, f"{score:.2f}", symbol}
        color = dict(vars(THEMES[theme]), unknown=THEMES[theme].muted)[outcome]
        assert same_color(row[symbol].get_color(), color)
    assert [heights[name] for name, *_ in labels] == sorted(
        (heights[name] for name, *_ in labels), reverse=True
    )
    assert len(set(OUTCOME_SYMBOLS.values())) == 4


def test_the_sheet_shows_the_pictures_in_rows_of_four():
    figure = prediction_sheet([picture(("a", 0.5, "correct"))] * 9)
    boxes = [axes.get_position() for axes in figure.axes]
    assert len({round(box.y0, 4) for box in boxes}) == 3
    assert len({round(box.x0, 4) for box in boxes}) == 4
    np.testing.assert_array_equal(
        figure.axes[0].images[0].get_array(), np.full((30, 40, 3), 128)
    )


def test_of_many_labels_the_rest_is_counted():
    labels = [(f"c{i}", 0.5, "missed") for i in range(9)]
    texts = [text.get_text() for text in prediction_sheet([picture(*labels)]).texts]
    assert "c5" in texts and "c6" not in texts
    assert "and 3 more" in texts


@THEME_NAMES
def test_figures_become_pictures_on_the_themes_ground(theme):
    figures = [
        per_class_ap(CLASSES, theme),
        label_graph(list("abcd"), *graph(4), theme),
        training_curves(CURVES, theme),
        prediction_sheet([picture(("a", 0.5, "correct"))], theme),
    ]
    ground = THEMES[theme].background
    for figure in figures:
        image = Image.open(io.BytesIO(render_png(figure, dpi=50))).convert("RGB")
        pixels = np.asarray(image)
        assert same_color(pixels[-1, -1] / 255, ground)
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_letters_that_the_font_lacks_come_from_an_installed_one(monkeypatch):
    """With one of matplotlib's own fonts for symbols in the place of a Chinese one."""
    names, fonts = ["\ue0b3", "dog"], "capnet_mm.visualization.figures.CJK_FONTS"
    monkeypatch.setattr(fonts, ())
    with pytest.warns(UserWarning, match="missing from font"):
        render_png(label_graph(names, *graph(2)), dpi=50)
    monkeypatch.setattr(fonts, ("No such font", "STIXNonUnicode"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render_png(label_graph(names, *graph(2)), dpi=50)


def test_an_unknown_theme_and_nothing_to_draw_are_refused():
    with pytest.raises(ValueError, match="theme='red'"):
        per_class_ap(CLASSES, "red")
    with pytest.raises(ValueError, match="no class"):
        per_class_ap([])
    with pytest.raises(ValueError, match="no picture"):
        prediction_sheet([])
