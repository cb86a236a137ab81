"""From a figure to a PNG: the theme's ground, letters of any script, resolution."""

import io
import warnings

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from PIL import Image

from capnet_mm.visualization import (
    THEMES,
    Curves,
    SheetImage,
    SheetLabel,
    label_graph,
    per_class_ap,
    prediction_sheet,
    render_png,
    training_curves,
)
from capnet_mm.visualization.drawing import add_axes, short_name

MATRICES = np.eye(4) + np.arange(16).reshape(4, 4) / 20, np.eye(4)[::-1]
CLASS = dict(name="dog", train_count=9, group="tail", average_precision=40.0)
CURVES = Curves(dict(loss=([1, 2, 3], [3.0, 2.0, 1.0])), {}, {})
IMAGE = SheetImage(
    np.full((30, 40, 3), 128, np.uint8), [SheetLabel("a", 0.5, "correct")]
)


@pytest.mark.parametrize("theme", THEMES)
def test_figures_become_images_on_the_themes_ground(theme):
    figures = [
        per_class_ap([CLASS], theme),
        label_graph(list("abcd"), *MATRICES, theme),
        training_curves(CURVES, theme),
        prediction_sheet([IMAGE], theme),
    ]
    ground = THEMES[theme].background
    for figure in figures:
        image = Image.open(io.BytesIO(render_png(figure, dpi=50))).convert("RGB")
        pixels = np.asarray(image)
        assert same_color(pixels[-1, -1] / 255, ground)
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_letters_that_the_font_lacks_come_from_an_installed_one(monkeypatch):
    """With one of matplotlib's own fonts for symbols in the place of a Chinese one."""
    names, fonts = ["\ue0b3", "dog"], "capnet_mm.visualization.drawing.CJK_FONTS"
    matrices = [matrix[:2, :2] for matrix in MATRICES]
    monkeypatch.setattr(fonts, ())
    with pytest.warns(UserWarning, match="missing from font"):
        render_png(label_graph(names, *matrices), dpi=50)
    monkeypatch.setattr(fonts, ("No such font", "STIXNonUnicode"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render_png(label_graph(names, *matrices), dpi=50)


def test_axes_stand_at_their_place_in_inches_and_the_png_has_their_pixels():
    figure = Figure(figsize=(4, 2))
    axes = add_axes(figure, 1, 0.5, 2, 1)
    axes.set_axis_off()
    axes.imshow(np.zeros((1, 2, 3)))  # black, of the shape of the axes
    content = Image.open(io.BytesIO(render_png(figure, dpi=100)))
    assert content.size == (400, 200)
    assert content.info["dpi"] == pytest.approx((100, 100), abs=0.1)
    rows, columns = np.nonzero(np.asarray(content.convert("L")) < 128)
    assert (columns.min(), columns.max() + 1) == (100, 300)
    assert (rows.min(), rows.max() + 1) == (50, 150)


def test_long_names_are_cut_and_say_so():
    assert short_name("a" * 24) == "a" * 24
    assert short_name("a" * 25) == "a" * 23 + "…"
