"""The figure of the average precision of each class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from capnet_mm.evaluation.frequency_groups import by_train_count

from .drawing import MAX_NAMES, WIDTH, name_axis, new_figure, style_axes
from .theme import GROUP_COLORS, Theme, get_theme

_MAX_NUMBERS = 30  # with more bars there is no room for a number over each


def per_class_ap(classes: Sequence[dict], theme: str = "light") -> Figure:
    """Draw the average precision of each class as bars, and the training counts.

    Classes go from the most to the least training images (in their own order where
    the counts are not known), bars in the colours of the groups, with each
    group's mean. A class without a positive in the test set has no average
    precision: a cross takes the place of its bar.

    Args:
        classes: ``LongTailMAP.class_results``, with ``name``, ``train_count`` (or
            None), ``group`` (or None), ``average_precision`` in percent (or NaN).
        theme: 'light' or 'dark'.

    Returns:
        The figure: average precision above, training counts (if known) below.

    Raises:
        ValueError: There is no class, or no such theme.
    """
    if not classes:
        raise ValueError("There is no class to draw the average precision of.")
    colors = get_theme(theme)
    counts = [entry["train_count"] for entry in classes]
    classes = [classes[index] for index in by_train_count(counts)]
    has_counts = all(count is not None for count in counts)

    width = min(WIDTH, max(6, 2 + 0.42 * len(classes)))
    figure = new_figure(width, 4.6 if has_counts else 3.8, colors)
    if has_counts:
        top, bottom = figure.subplots(2, sharex=True, height_ratios=(5, 2))
        style_axes(bottom, colors)
        _draw_counts(bottom, classes, colors)
    else:
        top = bottom = figure.subplots()
    style_axes(top, colors)
    _draw_precisions(figure, top, classes, colors)
    _name_classes(bottom, classes, has_counts, colors)
    return figure


def _name_classes(
    axes: Axes, classes: Sequence[dict], has_counts: bool, colors: Theme
) -> None:
    axes.set_xlim(-0.7, len(classes) - 0.3)
    if len(classes) <= MAX_NAMES:
        name_axis(axes.xaxis, [entry["name"] for entry in classes], rotation=90)
        return
    order = "from most to least training images" if has_counts else "in their order"
    axes.set_xticks([])
    axes.set_xlabel(f"{len(classes):,} classes, {order}", color=colors.muted)


def _draw_precisions(
    figure: Figure, axes: Axes, classes: Sequence[dict], colors: Theme
) -> None:
    precisions = np.array([entry["average_precision"] for entry in classes], float)
    is_absent = np.isnan(precisions)
    handles = _draw_groups(axes, classes, precisions, colors)
    if is_absent.any():
        size = 5 if len(classes) <= MAX_NAMES else 2
        cross = dict(marker="x", color=colors.muted, linestyle="none", markersize=size)
        axes.plot(np.flatnonzero(is_absent), np.full(is_absent.sum(), 2.0), **cross)
        handles.append(Line2D([], [], label="no positive in the test set", **cross))
    if len(classes) <= _MAX_NUMBERS:
        for place in np.flatnonzero(~is_absent):
            text = f"{precisions[place]:.0f}"
            _number_over(axes, place, precisions[place], text, colors)
    axes.set_ylim(0, 105)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("average precision (%)", color=colors.muted, fontsize=9)
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        labelcolor=colors.text,
        handlelength=1,
    )


def _draw_groups(
    axes: Axes, classes: Sequence[dict], precisions: np.ndarray, colors: Theme
) -> list[Artist]:
    """Draw bars and means of the groups; return what the legend says of them."""
    groups = [entry["group"] for entry in classes]
    handles: list[Artist] = []
    for group in [*GROUP_COLORS, None]:
        places = np.array([p for p, other in enumerate(groups) if other == group], int)
        if not len(places):
            continue
        color = GROUP_COLORS.get(group, colors.accent)
        drawn = places[~np.isnan(precisions[places])]
        _bars(axes, drawn, precisions[drawn], color, len(classes))
        mean = precisions[drawn].mean() if len(drawn) else np.nan
        label = f"{group or 'all'} ({len(places)}): mAP {_number(mean)}"
        handles.append(Patch(color=color, label=label))
        if len(drawn) and places[-1] - places[0] + 1 == len(places):
            ends = (places[0] - 0.5, places[-1] + 0.5)
            axes.hlines(mean, *ends, color=colors.text, linewidth=1, linestyle="--")
    return handles


def _draw_counts(axes: Axes, classes: Sequence[dict], colors: Theme) -> None:
    counts = np.array([entry["train_count"] for entry in classes])
    _bars(axes, np.arange(len(counts)), counts, colors.muted, len(counts))
    axes.set_yscale("symlog", linthresh=1)  # a class may have no image at all
    # Room for a number over the highest bar.
    axes.set_ylim(0, 1.5 * max(1, counts.max()) ** 1.15)
    axes.yaxis.set_major_formatter(lambda value, place: f"{value:,.0f}")
    axes.set_ylabel("training\nimages", color=colors.muted, fontsize=9)
    if len(classes) <= _MAX_NUMBERS:
        for place, count in enumerate(counts):
            _number_over(axes, place, count, f"{count:,}", colors)


def _bars(
    axes: Axes, places: np.ndarray, values: np.ndarray, color: str, num_classes: int
) -> None:
    """Draw bars; without gaps, as one shape, if they are thinner than a name."""
    if num_classes <= MAX_NAMES:
        axes.bar(places, values, width=0.75, color=color)
        return
    heights = np.full(num_classes, np.nan)
    heights[places] = values
    edges = np.arange(num_classes + 1) - 0.5
    axes.stairs(heights, edges, fill=True, color=color, linewidth=0)


def _number_over(
    axes: Axes, place: float, value: float, text: str, colors: Theme
) -> None:
    axes.annotate(
        text,
        (place, value),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        fontsize=7,
        color=colors.text,
        # A group's mean may run through it.
        bbox=dict(facecolor=colors.background, edgecolor="none", pad=0.6),
    )


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.1f}"
