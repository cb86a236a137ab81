"""The figure of class activation maps: heat lies where it was given."""

import numpy as np
import pytest

from capnet_mm.visualization import THEMES
from capnet_mm.visualization.class_map_figure import (
    MappedImage,
    class_map_sheet,
    with_heat,
)
from capnet_mm.visualization.sheet_figure import SheetLabel

PIXELS = np.full((40, 60, 3), (200, 0, 0), np.uint8)


def test_heat_lies_where_it_was_given_and_the_rest_is_grey():
    heat = np.zeros((4, 6))
    heat[3, 0] = 1e-5  # of any scale
    drawn = with_heat(PIXELS, heat).astype(int)
    assert drawn.shape == PIXELS.shape
    np.testing.assert_array_equal(np.ptp(drawn[:20], axis=-1), 0)
    brightness = drawn.sum(-1)
    y, x = np.unravel_index(brightness.argmax(), brightness.shape)
    assert y >= 30 and x < 10


def test_without_any_heat_nothing_is_lit():
    np.testing.assert_array_equal(
        np.ptp(with_heat(PIXELS, np.zeros((2, 2))), axis=-1), 0
    )


@pytest.mark.parametrize("theme", THEMES)
def test_each_image_is_a_row_with_its_maps_beside_it(theme):
    labels = [SheetLabel("dog", 0.9, "correct"), SheetLabel("cat", 0.2, "false")]
    maps = [(label, np.eye(4)) for label in labels]
    figure = class_map_sheet([MappedImage(PIXELS, maps)] * 5, theme)
    boxes = [axes.get_position() for axes in figure.axes]
    assert len({round(box.y0, 4) for box in boxes}) == 5
    assert len({round(box.x0, 4) for box in boxes}) == 3
    texts = [text.get_text() for text in figure.texts]
    assert texts.count("dog") == texts.count("cat") == 5
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), PIXELS)
    np.testing.assert_array_equal(
        figure.axes[1].images[0].get_array(), with_heat(PIXELS, np.eye(4))
    )
