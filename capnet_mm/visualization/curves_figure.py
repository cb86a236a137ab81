"""The figure of the course of a training."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .curves import Curves, Series
from .drawing import WIDTH, new_figure, style_axes
from .theme import GROUP_COLORS, Theme, get_theme


def training_curves(curves: Curves, theme: str = "light") -> Figure:
    """Draw losses, learning rate and validation scores of a training.

    Losses are drawn as logged, faintly, and smoothed (:func:`running_mean` over a
    fifteenth of the course). ``mAP`` and the mAP of the groups are drawn if there are
    such scores, else all scores.

    Args:
        curves: Curves to draw.
        theme: 'light' or 'dark'.

    Returns:
        The figure, with a panel for each kind of curve that there is.

    Raises:
        ValueError: There is no curve, or no such theme.
    """
    colors = get_theme(theme)
    if curves.is_empty:
        raise ValueError("There is no loss and no score to draw.")
    scores = _preferred_scores(curves.scores)
    panels = [
        (curves.losses, "loss", "iteration", _draw_losses),
        (curves.learning_rates, "learning rate", "iteration", _draw_rates),
        (scores, "validation", curves.score_unit, _draw_scores),
    ]
    panels = [panel for panel in panels if panel[0]]
    figure = new_figure(WIDTH * len(panels) / 3, 3.2, colors)
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (series, title, unit, draw) in zip(row, panels, strict=True):
        style_axes(axes, colors)
        draw(axes, series, colors)
        axes.set_title(title, loc="left", fontsize=10, color=colors.text)
        axes.set_xlabel(unit, color=colors.muted, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
        if len(series) > 1:
            _add_legend(axes, len(series), colors)
    return figure


def running_mean(values: Sequence[float], window: int) -> np.ndarray:
    """Average each value with its neighbours on both sides.

    Args:
        values: The values, (N,).
        window: Number of values that are averaged, the middle one included; an even
            number counts as the next odd one. At the ends there are fewer.

    Returns:
        The means, (N,).
    """
    values = np.asarray(values, dtype=float)
    kernel = np.ones(min(window // 2 * 2 + 1, 2 * len(values) - 1))
    half = len(kernel) // 2
    sums = np.convolve(values, kernel)[half : half + len(values)]
    counts = np.convolve(np.ones(len(values)), kernel)[half : half + len(values)]
    return sums / counts


def _add_legend(axes: Axes, num_lines: int, colors: Theme) -> None:
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.2),
        ncols=4 if num_lines <= 4 else 3,
        frameon=False,
        fontsize=8,
        labelcolor=colors.text,
        handlelength=1,
        columnspacing=1,
    )


def _draw_losses(axes: Axes, series: dict[str, Series], colors: Theme) -> None:
    for (name, (steps, values)), color in zip(
        series.items(), _line_colors(series, colors), strict=True
    ):
        window = max(1, len(values) // 15)
        axes.plot(steps, values, color=color, alpha=0.3, linewidth=1)
        axes.plot(
            steps, running_mean(values, window), color=color, linewidth=1.8, label=name
        )
    axes.set_ylim(bottom=0)


def _draw_rates(axes: Axes, series: dict[str, Series], colors: Theme) -> None:
    for (name, (steps, values)), color in zip(
        series.items(), _line_colors(series, colors), strict=True
    ):
        axes.plot(steps, values, color=color, linewidth=1.8, label=name)
    axes.set_ylim(bottom=0)


def _draw_scores(axes: Axes, series: dict[str, Series], colors: Theme) -> None:
    others = iter(_line_colors(series, colors))
    for name, (steps, values) in series.items():
        short = name.rsplit("/", 1)[-1]
        short = short.removeprefix("mAP_")
        color = GROUP_COLORS.get(short)
        if color is None:
            color = colors.text if short == "mAP" else next(others)
        style = dict(linewidth=2.4 if short == "mAP" else 1.6, markersize=3.5)
        label = f"{short} {values[-1]:.3g}"
        axes.plot(steps, values, color=color, marker="o", label=label, **style)


def _preferred_scores(scores: dict[str, Series]) -> dict[str, Series]:
    wanted = ("mAP", *(f"mAP_{group}" for group in GROUP_COLORS))
    preferred = {n: s for n, s in scores.items() if n.rsplit("/", 1)[-1] in wanted}
    return preferred or scores


def _line_colors(series: dict, colors: Theme) -> list[str]:
    palette = [colors.accent, colors.false, colors.correct, colors.muted]
    return [palette[index % len(palette)] for index in range(len(series))]
