"""The sheet of images: labels, symbols and scores are those given."""

import numpy as np
import pytest
from matplotlib.colors import same_color

from capnet_mm.visualization import (
    THEMES,
    SheetImage,
    SheetLabel,
    prediction_sheet,
)
from capnet_mm.visualization.sheet_figure import OUTCOME_SYMBOLS

THEME_NAMES = pytest.mark.parametrize("theme", THEMES)


def image(*labels, size=(30, 40)):
    pixels = np.full((*size, 3), 128, np.uint8)
    return SheetImage(pixels, [SheetLabel(*label) for label in labels])


@THEME_NAMES
def test_labels_stand_with_symbol_colour_and_score(theme):
    labels = [
        ("$dog$", 0.987, "correct"),
        ("cat", 0.5, "false"),
        ("cow", 0.04, "missed"),
        ("car", 0.3, "unknown"),
    ]
    figure = prediction_sheet([image(*labels)], theme)
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


def test_the_sheet_shows_the_images_in_rows_of_four():
    figure = prediction_sheet([image(("a", 0.5, "correct"))] * 9)
    boxes = [axes.get_position() for axes in figure.axes]
    assert len({round(box.y0, 4) for box in boxes}) == 3
    assert len({round(box.x0, 4) for box in boxes}) == 4
    np.testing.assert_array_equal(
        figure.axes[0].images[0].get_array(), np.full((30, 40, 3), 128)
    )


def test_of_many_labels_the_rest_is_counted():
    labels = [(f"c{i}", 0.5, "missed") for i in range(9)]
    texts = [text.get_text() for text in prediction_sheet([image(*labels)]).texts]
    assert "c5" in texts and "c6" not in texts
    assert "and 3 more" in texts


def test_an_empty_sheet_is_refused():
    with pytest.raises(ValueError, match="no image"):
        prediction_sheet([])
