"""The figure of the label graph."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from .drawing import MAX_NAMES, WIDTH, add_axes, name_axis, short_name, style_axes
from .theme import Theme, get_theme

# Up to so many classes two heat maps have room side by side.
_MAX_BESIDE = 40


def label_graph(
    names: Sequence[str],
    similarity: np.ndarray,
    adjacency: np.ndarray,
    theme: str = "light",
) -> Figure:
    """Draw the label graph before and after its construction, as two heat maps.

    Before: cosines of the classes' text features. After: the weights of the
    graph, which row c gives to its neighbours. Diagonals are left blank (1, and what
    the class keeps for itself): beside them the neighbours could not be seen, so
    each scale covers the other entries alone, from the smallest to the largest.

    Args:
        names: Names of the C classes; written out for up to ``MAX_NAMES`` classes.
        similarity: (C, C) cosines.
        adjacency: (C, C), rows sum to 1.
        theme: 'light' or 'dark'.

    Returns:
        The figure.

    Raises:
        ValueError: There are fewer than two classes, the shapes do not fit, or there
            is no such theme.
    """
    colors = get_theme(theme)
    matrices = [np.asarray(m, dtype=float) for m in (similarity, adjacency)]
    _check_shapes(len(names), matrices)
    figure, panels = _graph_panels(names, colors)
    titles = (
        "Before: cosine of the text features",
        "After: weight of the neighbours in the graph",
    )
    for (axes, bar), matrix, title in zip(panels, matrices, titles, strict=True):
        image = _draw_matrix(axes, matrix, names, colors)
        _draw_scale(bar, image, colors)
        axes.set_title(title, loc="left", fontsize=10, color=colors.text)
    return figure


def _check_shapes(num_classes: int, matrices: Sequence[np.ndarray]) -> None:
    if num_classes < 2:
        raise ValueError(f"A graph needs two classes, and there is {num_classes}.")
    for matrix in matrices:
        if matrix.shape != (num_classes, num_classes):
            raise ValueError(
                f"{num_classes} names, but a matrix of the shape {matrix.shape}."
            )


def _graph_panels(
    names: Sequence[str], colors: Theme
) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Two squares with room for names and a scale, beside each other if they fit."""
    is_beside = len(names) <= _MAX_BESIDE
    has_names = len(names) <= MAX_NAMES
    longest = max(len(short_name(name)) for name in names) if has_names else 0
    name_room = 0.15 + 0.068 * longest  # inches
    head, scale_room, end = 0.4, 0.75, 0.1
    panel_width = WIDTH / 2 if is_beside else WIDTH
    side = panel_width - name_room - scale_room
    panel_height = head + side + name_room + end
    height = panel_height * (1 if is_beside else 2)
    figure = Figure(figsize=(WIDTH, height), facecolor=colors.background)
    panels = []
    for place in range(2):
        left = name_room + (place * panel_width if is_beside else 0)
        bottom = name_room + end + (0 if is_beside else (1 - place) * panel_height)
        axes = add_axes(figure, left, bottom, side, side)
        bar = add_axes(figure, left + side + 0.1, bottom, 0.1, side)
        panels.append((axes, bar))
    return figure, panels


def _draw_matrix(
    axes: Axes,
    matrix: np.ndarray,
    names: Sequence[str],
    colors: Theme,
) -> AxesImage:
    matrix = matrix.copy()
    np.fill_diagonal(matrix, np.nan)
    ramp = LinearSegmentedColormap.from_list("ramp", colors.ramp)
    ramp = ramp.with_extremes(bad=colors.line)
    image = axes.imshow(matrix, cmap=ramp, interpolation="nearest")
    style_axes(axes, colors)
    axes.grid(False)
    if len(names) <= MAX_NAMES:
        name_axis(axes.xaxis, names, rotation=90)
        name_axis(axes.yaxis, names)
    else:
        axes.set(xticks=[], yticks=[])
    return image


def _draw_scale(axes: Axes, image: AxesImage, colors: Theme) -> None:
    bar = axes.figure.colorbar(image, cax=axes)
    axes.tick_params(colors=colors.muted, labelsize=8, length=2)
    bar.outline.set_visible(False)
