"""The figure of predicted probabilities against how often the label is there."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capnet_mm.evaluation import ReliabilityBins

from .drawing import new_figure, style_axes
from .theme import GROUP_COLORS, Theme, get_theme

# Bins of fewer labels are chance: their points are faint, no line goes to them.
_FEW = 10
_TITLES = dict(before="as trained", after="calibrated")


def reliability_diagram(
    reliability: Mapping[str, Mapping[str, ReliabilityBins]], theme: str = "light"
) -> Figure:
    """Draw reliability before and after calibration, by group.

    A point is a bin of labels: across their mean probability, up the share of them that
    is there. Its area grows with the logarithm of their number; those of fewer than
    ten are faint, and no line goes to them. Probabilities that are what they say lie on
    the diagonal.

    Args:
        reliability: ``LongTailMAP.reliability``.
        theme: 'light' or 'dark'.

    Returns:
        The figure, a panel each.

    Raises:
        ValueError: There is no such theme.
    """
    colors = get_theme(theme)
    figure = new_figure(9, 5, colors)
    panels = figure.subplots(1, len(_TITLES), sharey=True)
    for axes, (when, title) in zip(panels, _TITLES.items(), strict=True):
        style_axes(axes, colors)
        _draw_panel(axes, reliability[when], colors)
        axes.set_title(title, loc="left", fontsize=10, color=colors.text)
        axes.set_xlabel("predicted probability", color=colors.muted, fontsize=9)
    panels[0].set_ylabel("share of labels there", color=colors.muted, fontsize=9)
    return figure


def _draw_panel(
    axes: Axes, parts: Mapping[str, ReliabilityBins], colors: Theme
) -> None:
    axes.plot((0, 1), (0, 1), color=colors.muted, linewidth=1, linestyle="--")
    for name, bins in parts.items():
        if not len(bins.counts):
            continue
        color = GROUP_COLORS.get(name, colors.text)
        label = f"{name}: ECE {bins.expected_calibration_error:.3f}"
        is_total = name not in GROUP_COLORS
        has_many = bins.counts >= _FEW
        axes.plot(
            bins.predicted[has_many],
            bins.observed[has_many],
            color=color,
            linewidth=2.2 if is_total else 1.3,
            label=label,
        )
        axes.scatter(
            bins.predicted,
            bins.observed,
            s=6 + 8 * np.log10(bins.counts),
            color=color,
            alpha=np.where(has_many, 1, 0.3),
        )
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_box_aspect(1)
    axes.legend(loc="upper left", frameon=False, fontsize=8, labelcolor=colors.text)
