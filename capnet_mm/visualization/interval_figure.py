"""The figure of differences between methods, with their intervals."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from .drawing import WIDTH, new_figure, style_axes
from .theme import GROUP_COLORS, get_theme


def difference_intervals(
    differences: Mapping[str, Mapping[str, tuple[float, float, float]]],
    reference: str,
    theme: str = "light",
) -> Figure:
    """Draw the difference of each row to a reference, with its interval.

    Args:
        differences: Of each row, by its label, for each column (``total``, ``head``,
            …) the difference and the ends of its interval; NaN is left out.
        reference: Name of what the rows are compared with.
        theme: 'light' or 'dark'.

    Returns:
        The figure, a panel for each column; the first row is on top.

    Raises:
        ValueError: There is no row, or no such theme.
    """
    colors = get_theme(theme)
    if not differences:
        raise ValueError(f"There is no row to compare with {reference}.")
    columns = list(next(iter(differences.values())))
    figure = new_figure(WIDTH, 1.2 + 0.28 * len(differences), colors)
    panels = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    places = np.arange(len(differences))
    for axes, column in zip(panels, columns, strict=True):
        style_axes(axes, colors)
        axes.grid(axis="x", color=colors.line, linewidth=0.6)
        axes.axvline(0, color=colors.text, linewidth=1)
        middle, low, high = np.array([row[column] for row in differences.values()]).T
        color = GROUP_COLORS.get(column, colors.accent)
        axes.hlines(places, low, high, color=color, linewidth=2)
        axes.plot(middle, places, "o", color=color, markersize=5)
        axes.set_title(column, color=colors.text, fontsize=9)
    panels[0].set_yticks(places, list(differences), parse_math=False)
    panels[0].set_ylim(len(differences) - 0.5, -0.5)
    figure.supxlabel(f"mAP less that of {reference}", color=colors.muted, fontsize=9)
    return figure
