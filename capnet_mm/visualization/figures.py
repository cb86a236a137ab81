"""Figures that show what a model does, drawn from plain data.

Each function draws one matplotlib ``Figure`` in the colours of a theme; nothing
of pyplot's shared state is touched. :func:`render_png` makes a picture of it.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from capnet_mm.evaluation.frequency_groups import by_train_count

from .curves import Curves, Series
from .theme import GROUP_COLORS, Theme, get_theme

# Inches; a page shows 96 pixels of them as they are.
WIDTH = 11
# More names than this cannot be read along an axis of that width.
MAX_NAMES = 100
# Up to so many classes two heat maps have room side by side.
_MAX_BESIDE = 40
_MAX_NUMBERS = 30  # and so many bars for a number over each
_NAME_LENGTH = 24

# Fonts with Chinese, Japanese and Korean letters that systems and users have;
# matplotlib's own has none.
CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "SimHei",
    "Malgun Gothic",
    "Arial Unicode MS",
)

OUTCOME_SYMBOLS = dict(correct="✓", false="✗", missed="○", unknown="?")
_SHEET_COLUMNS = 4
_MAX_LABELS = 6


@dataclass(frozen=True)
class SheetLabel:
    """A label under a picture of :func:`prediction_sheet`.

    Attributes:
        name: The class.
        score: Its probability, 0 to 1.
        outcome: 'correct', 'false' (predicted, not true), 'missed' (true, not
            predicted) or 'unknown' (predicted, the truth is not known).
    """

    name: str
    score: float
    outcome: str


@dataclass(frozen=True)
class SheetPicture:
    """A picture of :func:`prediction_sheet`.

    Attributes:
        image: (H, W, 3) RGB, uint8.
        labels: What is written below, in this order.
    """

    image: np.ndarray
    labels: Sequence[SheetLabel]


def render_png(figure: Figure, dpi: int = 144) -> bytes:
    """Make a PNG of a figure.

    Letters that the figure's font lacks come from those of :data:`CJK_FONTS` that
    are installed.

    Args:
        figure: What to draw; its texts are given these fonts too.
        dpi: Pixels an inch.

    Returns:
        Content of the file, which also states the resolution.
    """
    installed = set(fontManager.get_font_names())
    fallback = [name for name in CJK_FONTS if name in installed]
    for text in figure.findobj(Text):
        text.set_fontfamily([*text.get_fontfamily(), *fallback])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def per_class_ap(classes: Sequence[dict], theme: str = "light") -> Figure:
    """Draw the average precision of each class as bars, and the training counts.

    Classes go from the most to the least training images (in their own order where
    the counts are not known), bars in the colours of the groups, with each
    group's mean. A class without a positive in the test set has no average
    precision: a cross takes the place of its bar.

    Args:
        classes: As ``LongTailMAP.class_results``: ``name``, ``train_count`` (or
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
    figure = _figure(width, 4.6 if has_counts else 3.8, colors)
    if has_counts:
        top, bottom = figure.subplots(2, sharex=True, height_ratios=(5, 2))
        _style(bottom, colors)
        _draw_counts(bottom, classes, colors)
    else:
        top = bottom = figure.subplots()
    _style(top, colors)
    _draw_precisions(figure, top, classes, colors)
    bottom.set_xlim(-0.7, len(classes) - 0.3)
    order = "from most to least training images" if has_counts else "in their order"
    if len(classes) <= MAX_NAMES:
        _name_axis(bottom.xaxis, [entry["name"] for entry in classes], rotation=90)
    else:
        bottom.set_xticks([])
        bottom.set_xlabel(f"{len(classes):,} classes, {order}", color=colors.muted)
    return figure


def _draw_precisions(
    figure: Figure, axes: Axes, classes: Sequence[dict], colors: Theme
) -> None:
    precisions = np.array([entry["average_precision"] for entry in classes], float)
    is_absent = np.isnan(precisions)
    groups = [entry["group"] for entry in classes]
    handles = []
    for group in [*GROUP_COLORS, None]:
        places = np.array([p for p, other in enumerate(groups) if other == group], int)
        if not len(places):
            continue
        color = GROUP_COLORS.get(group, colors.accent)
        drawn = places[~is_absent[places]]
        _bars(axes, drawn, precisions[drawn], color, len(classes))
        mean = precisions[drawn].mean() if len(drawn) else np.nan
        label = f"{group or 'all'} ({len(places)}): mAP {_number(mean)}"
        handles.append(Patch(color=color, label=label))
        if len(drawn) and places[-1] - places[0] + 1 == len(places):
            ends = (places[0] - 0.5, places[-1] + 0.5)
            axes.hlines(mean, *ends, color=colors.text, linewidth=1, linestyle="--")
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
    num_classes = len(names)
    if num_classes < 2:
        raise ValueError(f"A graph needs two classes, and there is {num_classes}.")
    matrices = [np.asarray(m, dtype=float) for m in (similarity, adjacency)]
    for matrix in matrices:
        if matrix.shape != (num_classes, num_classes):
            raise ValueError(
                f"{num_classes} names, but a matrix of the shape {matrix.shape}."
            )
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


def _graph_panels(
    names: Sequence[str], colors: Theme
) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Two squares with room for names and a scale, beside each other if they fit."""
    is_beside = len(names) <= _MAX_BESIDE
    has_names = len(names) <= MAX_NAMES
    longest = max(len(_short(name)) for name in names) if has_names else 0
    name_room = 0.15 + 0.068 * longest  # inches
    head, scale_room, end = 0.4, 0.75, 0.1
    panel_width = WIDTH / 2 if is_beside else WIDTH
    side = panel_width - name_room - scale_room
    panel_height = head + side + name_room + end
    width, height = WIDTH, panel_height * (1 if is_beside else 2)
    figure = Figure(figsize=(width, height), facecolor=colors.background)
    panels = []
    for place in range(2):
        left = name_room + (place * panel_width if is_beside else 0)
        bottom = name_room + end + (0 if is_beside else (1 - place) * panel_height)
        boxes = (left, bottom, side, side), (left + side + 0.1, bottom, 0.1, side)
        scale = (width, height, width, height)
        axes, bar = (
            figure.add_axes([value / of for value, of in zip(box, scale, strict=True)])
            for box in boxes
        )
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
    _style(axes, colors)
    axes.grid(False)
    if len(names) <= MAX_NAMES:
        _name_axis(axes.xaxis, names, rotation=90)
        _name_axis(axes.yaxis, names)
    else:
        axes.set(xticks=[], yticks=[])
    return image


def _draw_scale(axes: Axes, image: AxesImage, colors: Theme) -> None:
    bar = axes.figure.colorbar(image, cax=axes)
    axes.tick_params(colors=colors.muted, labelsize=8, length=2)
    bar.outline.set_visible(False)


def training_curves(curves: Curves, theme: str = "light") -> Figure:
    """Draw losses, learning rate and validation scores of a training.

    Losses are drawn as logged, faintly, and smoothed (:func:`running_mean` over a
    fifteenth of the course). ``mAP`` and the mAP of the groups are drawn if there are
    such scores, else all scores.

    Args:
        curves: What to draw.
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
    figure = _figure(WIDTH * len(panels) / 3, 3.2, colors)
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (series, title, unit, draw) in zip(row, panels, strict=True):
        _style(axes, colors)
        draw(axes, series, colors)
        axes.set_title(title, loc="left", fontsize=10, color=colors.text)
        axes.set_xlabel(unit, color=colors.muted, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
        if len(series) > 1:
            axes.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.2),
                ncols=4 if len(series) <= 4 else 3,
                frameon=False,
                fontsize=8,
                labelcolor=colors.text,
                handlelength=1,
                columnspacing=1,
            )
    return figure


def running_mean(values: Sequence[float], window: int) -> np.ndarray:
    """Mean of each value and its neighbours on both sides.

    Args:
        values: (N,).
        window: How many values the mean is over, the middle one included; an even
            number counts as the next odd one. At the ends there are fewer.

    Returns:
        (N,).
    """
    values = np.asarray(values, dtype=float)
    kernel = np.ones(min(window // 2 * 2 + 1, 2 * len(values) - 1))
    half = len(kernel) // 2
    sums = np.convolve(values, kernel)[half : half + len(values)]
    counts = np.convolve(np.ones(len(values)), kernel)[half : half + len(values)]
    return sums / counts


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


def prediction_sheet(pictures: Sequence[SheetPicture], theme: str = "light") -> Figure:
    """Draw pictures with their labels, each marked as right or wrong.

    Marks differ in form as well as in colour.

    Args:
        pictures: What to draw, four in a row. Of many labels the first six are
            written.
        theme: 'light' or 'dark'.

    Returns:
        The figure.

    Raises:
        ValueError: There is no picture, or no such theme.
    """
    colors = get_theme(theme)
    if not pictures:
        raise ValueError("There is no picture to draw.")
    rows = [
        pictures[start : start + _SHEET_COLUMNS]
        for start in range(0, len(pictures), _SHEET_COLUMNS)
    ]
    gap, head, line, image_height = 0.25, 0.4, 0.185, 1.9  # inches
    column = (WIDTH + gap) / _SHEET_COLUMNS
    heights = [
        image_height + gap + 0.1 + line * max(_num_lines(p) for p in row)
        for row in rows
    ]
    width = column * min(len(pictures), _SHEET_COLUMNS) - gap
    # The key of the symbols needs its room even above a single picture.
    width = max(width, 5.5)
    height = head + sum(heights)
    figure = Figure(figsize=(width, height), facecolor=colors.background)
    _draw_key(figure, pictures, 1 - head / 2 / height, colors)

    top = height - head
    for row, row_height in zip(rows, heights, strict=True):
        for place, picture in enumerate(row):
            left = place * column
            right = left + column - gap
            box = (left, top - image_height, right - left, image_height)
            scale = (width, height, width, height)
            axes = figure.add_axes([v / s for v, s in zip(box, scale, strict=True)])
            axes.imshow(picture.image, interpolation="antialiased")
            axes.set_anchor("SW")
            axes.set_axis_off()
            first = top - image_height - 0.1 - line / 2
            ends = (left / width, right / width)
            _draw_labels(figure, picture, ends, first / height, line / height, colors)
        top -= row_height
    return figure


def _num_lines(picture: SheetPicture) -> int:
    return min(len(picture.labels), _MAX_LABELS + 1)


def _draw_labels(
    figure: Figure,
    picture: SheetPicture,
    ends: tuple[float, float],
    y: float,
    line: float,
    colors: Theme,
) -> None:
    """Write symbols, names and scores below each other, from y downwards."""
    left, right = ends
    indent = 0.2 / figure.get_figwidth()
    common = dict(va="center", fontsize=9, parse_math=False)
    for label in picture.labels[:_MAX_LABELS]:
        figure.text(
            left,
            y,
            OUTCOME_SYMBOLS[label.outcome],
            color=_outcome_color(label.outcome, colors),
            **{**common, "fontsize": 11},
        )
        figure.text(left + indent, y, _short(label.name), color=colors.text, **common)
        figure.text(
            right, y, f"{label.score:.2f}", ha="right", color=colors.muted, **common
        )
        y -= line
    more = len(picture.labels) - _MAX_LABELS
    if more > 0:
        figure.text(left + indent, y, f"and {more} more", color=colors.muted, **common)


def _draw_key(
    figure: Figure, pictures: Sequence[SheetPicture], y: float, colors: Theme
) -> None:
    """Say what the symbols mean, for those that are there."""
    x = 0.0
    present = {label.outcome for picture in pictures for label in picture.labels}
    for outcome, symbol in OUTCOME_SYMBOLS.items():
        if outcome not in present:
            continue
        color = _outcome_color(outcome, colors)
        figure.text(x, y, symbol, color=color, va="center", fontsize=11)
        x += 0.2 / figure.get_figwidth()
        figure.text(x, y, outcome, color=colors.text, va="center", fontsize=9)
        x += 0.95 / figure.get_figwidth()


def _outcome_color(outcome: str, colors: Theme) -> str:
    known = dict(correct=colors.correct, false=colors.false, missed=colors.missed)
    return known.get(outcome, colors.muted)


def _figure(width: float, height: float, colors: Theme) -> Figure:
    return Figure(
        figsize=(width, height), layout="constrained", facecolor=colors.background
    )


def _style(axes: Axes, colors: Theme) -> None:
    """Set the theme's colours, and leave out what is not needed."""
    axes.set_facecolor(colors.background)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=colors.line, linewidth=0.6)
    axes.tick_params(
        colors=colors.muted, labelcolor=colors.muted, labelsize=8, length=2
    )
    axes.tick_params(axis="both", which="minor", length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_edgecolor(colors.line)


def _name_axis(axis, names: Sequence[str], **text) -> None:
    """Label an axis with the names of classes, as small as their number demands."""
    size = 8 if len(names) <= 60 else 6
    labels = [_short(name) for name in names]
    axis.set_ticks(range(len(names)), labels, fontsize=size, parse_math=False, **text)


def _short(name: str) -> str:
    name = str(name)
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"


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
