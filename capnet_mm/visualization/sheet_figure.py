"""The figure of images with a model's predictions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from .drawing import WIDTH, add_axes, short_name
from .theme import Theme, get_theme

OUTCOME_SYMBOLS = dict(correct="✓", false="✗", missed="○", unknown="?")
_COLUMNS = 4
_MAX_LABELS = 6

# Inches: heights of the key, of an image, from there to the text, and of a line;
# between symbol and name; between images; width of a column with its gap.
_HEAD, _IMAGE_HEIGHT, _ABOVE_TEXT, _LINE = 0.4, 1.9, 0.1, 0.185
_INDENT, _GAP, _KEY_WIDTH = 0.2, 0.25, 5.5
_COLUMN = (WIDTH + _GAP) / _COLUMNS


@dataclass(frozen=True)
class SheetLabel:
    """A label under an image of :func:`prediction_sheet`.

    Attributes:
        name: Name of the class.
        score: Probability of the class, 0 to 1.
        outcome: 'correct', 'false' (predicted, not true), 'missed' (true, not
            predicted) or 'unknown' (predicted, the truth is not known).
    """

    name: str
    score: float
    outcome: str


@dataclass(frozen=True)
class SheetImage:
    """An image of :func:`prediction_sheet`.

    Attributes:
        pixels: (H, W, 3) RGB, uint8.
        labels: Labels that are written below, in this order.
    """

    pixels: np.ndarray
    labels: Sequence[SheetLabel]


def prediction_sheet(
    images: Sequence[SheetImage], theme: str = "light", columns: int = _COLUMNS
) -> Figure:
    """Draw images with their labels, each marked as right or wrong.

    Marks differ in form as well as in colour.

    Args:
        images: Images to draw. Of many labels the first six are written.
        theme: 'light' or 'dark'.
        columns: Number of images in a row. Defaults to 4.

    Returns:
        The figure.

    Raises:
        ValueError: There is no image, or no such theme.
    """
    colors = get_theme(theme)
    if not images:
        raise ValueError("There is no image to draw.")
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    heights = [_row_height(row) for row in rows]
    # The key of the symbols needs its room even above a single image.
    width = max(_COLUMN * len(rows[0]) - _GAP, _KEY_WIDTH)
    top = sum(heights)
    figure = Figure(figsize=(width, top + _HEAD), facecolor=colors.background)
    _draw_key(figure, images, top + _HEAD / 2, colors)
    for row, height in zip(rows, heights, strict=True):
        for place, image in enumerate(row):
            _draw_image(figure, image, place * _COLUMN, top, colors)
        top -= height
    return figure


def _row_height(row: Sequence[SheetImage]) -> float:
    num_lines = max(min(len(image.labels), _MAX_LABELS + 1) for image in row)
    return _IMAGE_HEIGHT + _ABOVE_TEXT + _LINE * num_lines + _GAP


def _draw_image(
    figure: Figure, image: SheetImage, left: float, top: float, colors: Theme
) -> None:
    """Draw an image at a place in inches, with its labels below."""
    width, bottom = _COLUMN - _GAP, top - _IMAGE_HEIGHT
    axes = add_axes(figure, left, bottom, width, _IMAGE_HEIGHT)
    axes.imshow(image.pixels, interpolation="antialiased")
    axes.set_anchor("SW")
    axes.set_axis_off()
    y = bottom - _ABOVE_TEXT - _LINE / 2
    for label in image.labels[:_MAX_LABELS]:
        symbol = OUTCOME_SYMBOLS[label.outcome]
        _write(figure, left, y, symbol, _outcome_color(label.outcome, colors), size=11)
        _write(figure, left + _INDENT, y, short_name(label.name), colors.text)
        score = f"{label.score:.2f}"
        _write(figure, left + width, y, score, colors.muted, ha="right")
        y -= _LINE
    more = len(image.labels) - _MAX_LABELS
    if more > 0:
        _write(figure, left + _INDENT, y, f"and {more} more", colors.muted)


def _draw_key(
    figure: Figure, images: Sequence[SheetImage], y: float, colors: Theme
) -> None:
    """Say what the symbols mean, for those that are there."""
    x = 0.0
    present = {label.outcome for image in images for label in image.labels}
    for outcome, symbol in OUTCOME_SYMBOLS.items():
        if outcome in present:
            _write(figure, x, y, symbol, _outcome_color(outcome, colors), size=11)
            _write(figure, x + _INDENT, y, outcome, colors.text)
            x += _INDENT + 0.95


def _write(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    color: str,
    size: float = 9,
    ha: str = "left",
) -> None:
    """Write a text, with its middle at the height y; x and y in inches."""
    across, up = figure.get_size_inches()
    figure.text(
        x / across,
        y / up,
        text,
        color=color,
        fontsize=size,
        ha=ha,
        va="center",
        parse_math=False,
    )


def _outcome_color(outcome: str, colors: Theme) -> str:
    known = dict(correct=colors.correct, false=colors.false, missed=colors.missed)
    return known.get(outcome, colors.muted)
