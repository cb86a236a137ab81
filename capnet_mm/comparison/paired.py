"""Differences of rows to a reference, with what they owe to the test images."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from capnet_mm.evaluation.bootstrap import resample, resampled_average_precision
from capnet_mm.evaluation.score_file import Scores, read_scores
from capnet_mm.tables import Strong, Table
from capnet_mm.visualization.drawing import render_png
from capnet_mm.visualization.interval_figure import difference_intervals
from capnet_mm.visualization.page import PageFigure, Section
from capnet_mm.visualization.theme import THEMES

from .table import COLUMNS, ComparisonRow


class Interval(NamedTuple):
    """A difference of mAP in percent, and its 95 % interval; NaN where undefined."""

    difference: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0


class PairedComparison(NamedTuple):
    """Rows against one of them.

    Attributes:
        reference: Label of that row.
        differences: Those of each other row, by label and column.
        num_images: Number of test images.
        num_resamples: Number of test sets drawn.
    """

    reference: str
    differences: dict[str, dict[str, Interval]]
    num_images: int
    num_resamples: int


def compare_paired(
    rows: Sequence[ComparisonRow], reference: str, num_resamples: int = 1000
) -> PairedComparison:
    """Compare rows with one of them on test sets drawn from the test images.

    All rows are judged on the same draws, so that an image which is hard for all
    counts for none. Where a row has several seeds, the mean of their mAP is compared;
    the interval is over images alone, and the table has the spread over seeds.

    Args:
        rows: Rows whose runs have kept their scores.
        reference: Label of one of them.
        num_resamples: Number of draws. Defaults to 1,000.

    Returns:
        Differences and their 2.5 and 97.5 % quantiles.

    Raises:
        ValueError: The runs were not tested on the same images.
    """
    first = read_scores(rows[0].runs[0].scores_file(rows[0].tta))
    draws = resample(len(first.targets), num_resamples)
    drawn = {row.label: _drawn_map(row, first, draws) for row in rows}
    base = next(row for row in rows if row.label == reference)
    differences = {}
    for row in rows:
        if row is not base:
            gained = {c: drawn[row.label][c] - drawn[reference][c] for c in COLUMNS}
            differences[row.label] = {
                column: Interval(
                    row.mean(column) - base.mean(column), *_quantiles(gained[column])
                )
                for column in COLUMNS
            }
    return PairedComparison(reference, differences, len(first.targets), num_resamples)


def _drawn_map(
    row: ComparisonRow, expected: Scores, draws: np.ndarray
) -> dict[str, np.ndarray]:
    """MAP of each column on each test set drawn, (B,), mean over the seeds."""
    precisions = []
    for run in row.runs:
        found = read_scores(run.scores_file(row.tta))
        if not all(map(np.array_equal, found[1:], expected[1:])):
            raise ValueError(
                f"{run.scores_file(row.tta)} has other images, labels or classes than "
                "the first row: only tests on the same images can be compared in pairs."
            )
        scores, targets = found.scores, found.targets
        precisions.append(resampled_average_precision(scores, targets, draws))
    columns = {}
    for column in COLUMNS:
        members = np.full(len(expected.groups), True)
        if column != "total":
            members = expected.groups == column
        of_seeds = [_mean(100 * each[:, members]) for each in precisions]
        columns[column] = np.mean(of_seeds, axis=0)
    return columns


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is no NaN; NaN if nothing is left."""
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0).sum(-1)
    number = defined.sum(-1)
    return np.divide(total, number, out=np.full(len(values), np.nan), where=number > 0)


def _quantiles(values: np.ndarray) -> tuple[float, float]:
    """2.5 and 97.5 % of what is no NaN."""
    values = values[~np.isnan(values)]
    if not len(values):
        return math.nan, math.nan
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def paired_table(paired: PairedComparison) -> Table:
    """Compose the table of differences, in bold where 0 lies outside."""
    rows = [
        [label, *(_cell(of_columns[column]) for column in COLUMNS)]
        for label, of_columns in paired.differences.items()
    ]
    caption = (
        f"Difference to {paired.reference} in mAP, and its 95 % interval over "
        f"{paired.num_resamples:,} test sets drawn from the {paired.num_images:,} test "
        "images, the same for all rows. Bold: 0 lies outside."
    )
    return Table(["", *COLUMNS], rows, caption)


def _cell(interval: Interval) -> str:
    if math.isnan(interval.difference) or math.isnan(interval.low):
        return "–"
    text = "{:+.1f} ({:+.1f} to {:+.1f})".format(*interval)
    return Strong(text) if interval.is_clear else text


def as_plain(paired: PairedComparison) -> dict:
    """The comparison in JSON's types, with None for what is not defined."""
    return dict(
        reference=paired.reference,
        num_images=paired.num_images,
        num_resamples=paired.num_resamples,
        differences={
            label: {
                column: {
                    name: None if math.isnan(value) else value
                    for name, value in interval._asdict().items()
                }
                for column, interval in of_columns.items()
            }
            for label, of_columns in paired.differences.items()
        },
    )


def paired_section(paired: PairedComparison) -> Section:
    """Table and figure of the differences, for a report."""
    light, dark = (
        render_png(difference_intervals(paired.differences, paired.reference, theme))
        for theme in THEMES
    )
    caption = "Differences in mAP with their 95 % intervals, as in the table."
    return Section(
        f"Compared with {paired.reference}",
        tables=[paired_table(paired)],
        figures=[PageFigure(light, dark, caption)],
    )
