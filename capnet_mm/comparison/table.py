"""What a comparison found: a table as text, Markdown, JSON and HTML."""

import json
import math
import platform
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mmengine
import mmpretrain
import open_clip
import torch

import capnet_mm
from capnet_mm.fileio import replace_files
from capnet_mm.tables import Strong, Table
from capnet_mm.visualization.page import PageFigure, Section, write_page

from .runs import Run, last_checkpoint, read_record

COLUMNS = dict(
    total="multi-label/mAP",
    head="multi-label/mAP_head",
    medium="multi-label/mAP_medium",
    tail="multi-label/mAP_tail",
)
# The figures of a ReportHook, in the order in which they are shown.
FIGURES = dict(
    per_class_ap="Average precision of each class, from the class with the most "
    "training images to the one with the fewest.",
    predictions="Test images with their true labels and what the model said.",
    label_graph="Which classes the label graph connects.",
    training_curves="Loss and mAP in the course of training.",
)
EXPLANATION = """\
Average precision (AP) asks of one class: when all test images are sorted by the \
model's score, do those that show the class come first? 100 means that they all do; a \
model that guesses gets the share of images that show the class. mAP is the mean of AP \
over classes, in percent.

Head, medium and tail are the mAP of the classes with many, some and few training \
images (by default at least 100, 20 to 99, and fewer than 20). In long-tailed data \
most classes are rare, and the tail shows how well a method copes with that.

A zero-shot model is CLIP as it is, asked with the names of the classes, without any \
training. TTE is test-time ensembling: each test image is seen in several crops and \
the scores are averaged; nothing is trained for it."""


@dataclass(frozen=True)
class ComparisonRow:
    """A row of the table.

    Attributes:
        label: Text of the first column.
        tta: Whether the runs were tested with the test-time ensemble.
        runs: Runs of the config, one a seed.
        values: mAP of each column, one number a seed; NaN where the group has no class.
    """

    label: str
    tta: bool
    runs: tuple[Run, ...]
    values: dict[str, tuple[float, ...]]

    def mean(self, column: str) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values[column])

    def std(self, column: str) -> float | None:
        """Sample standard deviation over the seeds, if there are several."""
        values = self.values[column]
        if len(values) < 2 or math.isnan(sum(values)):
            return None
        return statistics.stdev(values)

    def cell(self, column: str) -> str:
        """Text of a cell: the value, or mean ± standard deviation."""
        if math.isnan(self.mean(column)):
            return "–"
        std = self.std(column)
        spread = "" if std is None else f" ± {std:.1f}"
        return f"{self.mean(column):.1f}{spread}"


def read_rows(runs: Sequence[Run]) -> list[ComparisonRow]:
    """Read the scores of finished runs.

    Args:
        runs: Runs of :func:`~capnet_mm.comparison.runs.plan_runs`, config by config.

    Returns:
        A row for each config, followed by one with the ensemble where it was asked
        for.

    Raises:
        FileNotFoundError: A run has not been tested.
        ValueError: The scores have no ``multi-label/mAP``.
    """
    of_label: dict[str, list[Run]] = {}
    for run in runs:
        of_label.setdefault(run.label, []).append(run)
    rows = []
    for label, group in of_label.items():
        rows.append(_read_row(label, group, tta=False))
        if group[0].tta:
            rows.append(_read_row(f"{label} + TTE", group, tta=True))
    return rows


def _read_row(label: str, runs: Sequence[Run], tta: bool) -> ComparisonRow:
    scores = [_read_scores(run.metrics_file(tta)) for run in runs]
    values = {
        column: tuple(score.get(key, math.nan) for score in scores)
        for column, key in COLUMNS.items()
    }
    return ComparisonRow(label, tta, tuple(runs), values)


def _read_scores(path: Path) -> dict[str, float]:
    scores = json.loads(path.read_text())
    if COLUMNS["total"] not in scores:
        raise ValueError(
            f"{path} has no {COLUMNS['total']}, only {sorted(scores)}: a comparison "
            "needs configs with test_evaluator=dict(type='LongTailMAP')."
        )
    return scores


def best_rows(rows: Sequence[ComparisonRow], column: str) -> set[int]:
    """Find the rows with the highest mean, to the digit that is shown.

    Args:
        rows: Rows of the table.
        column: Name of a column, one of :data:`COLUMNS`.

    Returns:
        Indices of these rows; empty if there is nothing to compare with.
    """
    means = {i: round(row.mean(column), 1) for i, row in enumerate(rows)}
    means = {i: mean for i, mean in means.items() if not math.isnan(mean)}
    if len(rows) < 2 or not means:
        return set()
    return {i for i, mean in means.items() if mean == max(means.values())}


def caption(rows: Sequence[ComparisonRow]) -> str:
    """Describe the numbers of the table.

    Args:
        rows: Rows of the table.

    Returns:
        One or two sentences.
    """
    text = "mAP in percent on the test set, last epoch"
    most = max((row.runs for row in rows), key=len)
    if len(most) > 1:
        seeds = ", ".join(str(run.seed) for run in most)
        text += f"; mean ± sample standard deviation over the seeds {seeds}"
    elif any(run.trains for row in rows for run in row.runs):
        text += "; one seed, so differences may be chance"
    return f"{text}. Best in bold."


def comparison_table(rows: Sequence[ComparisonRow]) -> Table:
    """Compose the table, with the best cells in bold.

    Args:
        rows: Rows of the table.

    Returns:
        Label and columns of each row, with a caption.
    """
    best = {column: best_rows(rows, column) for column in COLUMNS}
    cells = [
        [row.label]
        + [
            (Strong if index in best[column] else str)(row.cell(column))
            for column in COLUMNS
        ]
        for index, row in enumerate(rows)
    ]
    return Table(["", *COLUMNS], cells, caption(rows))


def as_json(rows: Sequence[ComparisonRow], command: str, **more) -> str:
    """Write the scores as JSON, seed by seed.

    Args:
        rows: Rows of the table.
        command: Command line that the comparison was made with.
        **more: What else is to be in the file.

    Returns:
        JSON, with null for what is not defined.
    """
    content = dict(
        **more,
        command=command,
        versions=versions(),
        device=device(),
        rows=[
            dict(
                label=row.label,
                config=row.runs[0].config,
                tta=row.tta,
                mean={c: _number(row.mean(c)) for c in COLUMNS},
                std={c: _number(row.std(c)) for c in COLUMNS},
                runs=[_describe(row, index) for index in range(len(row.runs))],
            )
            for row in rows
        ],
    )
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _describe(row: ComparisonRow, index: int) -> dict:
    run = row.runs[index]
    checkpoint = last_checkpoint(run) if run.trains else None
    return dict(
        seed=run.seed if run.trains else None,
        mAP={column: _number(row.values[column][index]) for column in COLUMNS},
        training_seconds=read_record(run)["training_seconds"],
        checkpoint=None if checkpoint is None else str(checkpoint),
    )


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the numbers depend on."""
    packages = (capnet_mm, torch, mmengine, mmpretrain, open_clip)
    found = {package.__name__: package.__version__ for package in packages}
    return dict(python=platform.python_version(), **found)


def device() -> str:
    """Name of the device that the runs use."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def write_comparison(
    folder: str | Path,
    rows: Sequence[ComparisonRow],
    command: str,
    figures: str | None = None,
    findings: Section | None = None,
    **more,
) -> None:
    """Write ``comparison.md``, ``comparison.json`` and ``report.html``.

    Args:
        folder: Folder to write to.
        rows: Rows of the table.
        command: Command line that the comparison was made with.
        figures: The config whose figures the page shows; None for the last one
            that has any.
        findings: What is to follow the table, in the page and in Markdown. Defaults
            to None: nothing.
        **more: What else the JSON is to hold.

    Raises:
        ValueError: The config is not in the table, or its run left no figures.
    """
    folder = Path(folder)
    tables = [comparison_table(rows), *(findings.tables if findings else ())]
    markdown = "\n".join(table.to_markdown() for table in tables)
    replace_files(
        {
            folder / "comparison.md": markdown.encode(),
            folder / "comparison.json": as_json(rows, command, **more).encode(),
        }
    )
    sections = [Section("Results", tables=[comparison_table(rows)])]
    sections += [findings] if findings else []
    sections.append(Section("How to read it", EXPLANATION))
    shown = choose_report(rows, figures)
    if shown is not None:
        sections.append(_figure_section(*shown))
    sections.append(_origin_section(rows, command))
    write_page(folder / "report.html", f"Comparison: {folder.name}", sections)


def choose_report(
    rows: Sequence[ComparisonRow], config: str | None
) -> tuple[ComparisonRow, Path] | None:
    """Choose the run whose figures are shown, among those of the first seed.

    Args:
        rows: Rows of the table.
        config: The config of the run; None for the last one that has figures.

    Returns:
        Row and folder of the figures; None if no run has any.

    Raises:
        ValueError: ``config`` is not in the table or has no figures.
    """
    found = None
    for row in rows:
        folder = _report_folder(row.runs[0])
        wanted = config in (None, row.runs[0].config)
        if folder is not None and wanted and not row.tta:
            found = row, folder
    if config is not None and found is None:
        raise ValueError(
            f"--images {config}: no run of this comparison with this config has "
            "left figures; its custom_hooks need dict(type='ReportHook')."
        )
    return found


def _report_folder(run: Run) -> Path | None:
    """Folder of the report of training, which has curves, else of the test."""
    for folder in (run.folder / "report", run.folder / "test" / "report"):
        if any((folder / f"{name}.png").is_file() for name in FIGURES):
            return folder
    return None


def _figure_section(row: ComparisonRow, folder: Path) -> Section:
    figures = []
    for name, text in FIGURES.items():
        light, dark = folder / f"{name}.png", folder / f"{name}_dark.png"
        if light.is_file():
            figures.append(PageFigure(light, dark if dark.is_file() else None, text))
    return Section(f"A closer look at {row.label}", _group_sizes(folder), (), figures)


def _group_sizes(folder: Path) -> str:
    """How many classes each group has, as the report of a run says."""
    file = folder / "report.json"
    if not file.is_file():
        return ""
    groups = Counter(c["group"] for c in json.loads(file.read_text())["classes"])
    named = [f"{groups[name]} {name}" for name in ("head", "medium", "tail")]
    return f"Classes: {', '.join(named)}." if groups.keys() - {None} else ""


def _origin_section(rows: Sequence[ComparisonRow], command: str) -> Section:
    lines = [[row.label, row.runs[0].config, _training_time(row)] for row in rows]
    table = Table(["", "config", "training"], lines)
    found = ", ".join(f"{name} {version}" for name, version in versions().items())
    text = f"{command}\n\n{device()}; {found}."
    return Section("How it was made", text, [table])


def _training_time(row: ComparisonRow) -> str:
    """Mean over the seeds."""
    if not row.runs[0].trains or row.tta:
        return "–"
    seconds = [read_record(run)["training_seconds"] for run in row.runs]
    if None in seconds:
        return "unknown"
    return f"{statistics.fmean(seconds):.0f} s"
