"""The report of a run: figures, a page and the numbers, composed from plain data."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from capnet_mm.evaluation.frequency_groups import by_train_count, highest_and_lowest
from capnet_mm.tables import Table

from .class_map_figure import MappedImage, class_map_sheet
from .curves import Curves
from .curves_figure import training_curves
from .drawing import render_png
from .graph_figure import label_graph
from .page import PageFigure, Section, render_page
from .precision_figure import per_class_ap
from .reliability_figure import reliability_diagram
from .sheet_figure import SheetImage, SheetLabel, prediction_sheet
from .theme import GROUP_COLORS, THEMES

# What a report may consist of; what there is nothing to say about is left out.
FIGURES = (
    "per_class_ap",
    "reliability",
    "label_graph",
    "training_curves",
    "predictions",
    "class_maps",
)
REPORT_FILES = (
    "report.html",
    "report.json",
    *(f"{name}.png" for name in FIGURES),
    *(f"{name}_dark.png" for name in FIGURES),
)

# Photographs compress badly and are seen small.
_SHEET_DPI = 100
# Classes in a table that is shown whole, and at each end of one that is not.
_MAX_UNFOLDED = 200
_EXTREMES = 20
# One image a row: more rows than this make a long page.
_MAX_MAPPED = 6
_OUTCOMES = {1: "correct", 0: "false", -1: "unknown"}
# mAP, and what thresholds of a checkpoint give.
_GROUP_SCORES = ("mAP", "mF1", "CF1", "OF1")
_PHASE_NAMES = dict(val="Validation", test="Test")


@dataclass(frozen=True)
class GraphExcerpt:
    """The label graph, or the part of it that is to be shown.

    Attributes:
        names: Names of n classes.
        similarity: (n, n) cosines of the text features.
        adjacency: (n, n) weights made from them.
        num_classes: C, number of classes in the whole graph.
        is_by_count: Whether the classes shown are those with the most training
            images, in this order; else they are the first ones.
    """

    names: Sequence[str]
    similarity: np.ndarray
    adjacency: np.ndarray
    num_classes: int
    is_by_count: bool


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for one image.

    Attributes:
        image: (H, W, 3) RGB, uint8.
        scores: (C,) probabilities.
        targets: (C,) 1 positive, 0 negative, -1 unknown.
        view: (h, w, 3) RGB, uint8: what of the image the model has seen. None: not
            known.
        maps: By the index of a class, how much each place of the view counts for it,
            highest score first. Equally many for every image; empty if the model says
            nothing of places.
    """

    image: np.ndarray
    scores: np.ndarray
    targets: np.ndarray
    view: np.ndarray | None = None
    maps: dict[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class RunReport:
    """Data of the report of a run.

    Attributes:
        config: Name of the config.
        phase: 'val', 'test', or None if nothing was evaluated.
        epoch: Epochs that the model was trained for; None if not known.
        tta: Whether several views of each image were averaged.
        metrics: Results of the evaluation by name.
        classes: ``LongTailMAP.class_results``; empty if there are none.
        reliability: ``LongTailMAP.reliability``; None without a calibration.
        names: Names of the classes in the predictions.
        predictions: Predictions of some images.
        curves: Curves of the training.
        graph: The label graph, if the model has one.
    """

    config: str
    phase: str | None = None
    epoch: int | None = None
    tta: bool = False
    metrics: dict = field(default_factory=dict)
    classes: Sequence[dict] = ()
    reliability: dict | None = None
    names: Sequence[str] = ()
    predictions: Sequence[Prediction] = ()
    curves: Curves | None = None
    graph: GraphExcerpt | None = None


def report_files(report: RunReport) -> dict[str, bytes]:
    """Compose the files of a report.

    Args:
        report: Data of the report.

    Returns:
        Content of each file by its name: ``report.html``, which holds everything,
        ``report.json``, and the figures as PNG, in the light theme and, as
        ``…_dark.png``, in the dark one. A figure that there is no data for is left
        out.
    """
    figures = {
        name: {theme: draw(theme) for theme in THEMES}
        for name, draw in _figures(report).items()
    }
    files = {f"{name}.png": themes["light"] for name, themes in figures.items()}
    for name, themes in figures.items():
        files[f"{name}_dark.png"] = themes["dark"]
    files["report.json"] = (json.dumps(_numbers(report), indent=1) + "\n").encode()
    files["report.html"] = _page(report, figures).encode()
    return files


def ranked_labels(
    scores: np.ndarray, targets: np.ndarray, names: Sequence[str]
) -> list[SheetLabel]:
    """Choose the labels to show of an image.

    Predicted are the k best labels, k being the number of true labels of the image, at
    least one: a threshold would leave rare classes out, whose probabilities are low.
    Then come the true labels that are not predicted.

    Args:
        scores: (C,) probabilities.
        targets: (C,) 1 positive, 0 negative, -1 unknown.
        names: Names of the C classes.

    Returns:
        Labels with their outcome, each part from the highest to the lowest score.
    """
    order = np.argsort(-scores, kind="stable")
    num_predicted = max(1, int((targets == 1).sum()))
    labels = [
        SheetLabel(names[index], float(scores[index]), _OUTCOMES[int(targets[index])])
        for index in order[:num_predicted]
    ]
    labels += [
        SheetLabel(names[index], float(scores[index]), "missed")
        for index in order[num_predicted:]
        if targets[index] == 1
    ]
    return labels


def _figures(report: RunReport) -> dict:
    """A function from a theme to a PNG for each figure that there is data for."""
    figures = {}
    if report.classes:
        figures["per_class_ap"] = lambda theme: render_png(
            per_class_ap(report.classes, theme)
        )
    if report.reliability is not None:
        figures["reliability"] = lambda theme: render_png(
            reliability_diagram(report.reliability, theme)
        )
    if report.predictions:
        sheet = [
            SheetImage(p.image, ranked_labels(p.scores, p.targets, report.names))
            for p in report.predictions
        ]
        figures["predictions"] = lambda theme: render_png(
            prediction_sheet(sheet, theme), _SHEET_DPI
        )
    if mapped := _mapped_images(report):
        figures["class_maps"] = lambda theme: render_png(
            class_map_sheet(mapped, theme), _SHEET_DPI
        )
    graph = report.graph
    if graph is not None and len(graph.names) > 1:
        figures["label_graph"] = lambda theme: render_png(
            label_graph(
                graph.names,
                graph.similarity,
                graph.adjacency,
                theme,
            )
        )
    if report.curves is not None and not report.curves.is_empty:
        figures["training_curves"] = lambda theme: render_png(
            training_curves(report.curves, theme)
        )
    return figures


def _mapped_images(report: RunReport) -> list[MappedImage]:
    """Those with class activation maps; of many some, evenly spread."""
    mapped = [p for p in report.predictions if p.maps and p.view is not None]
    step = -(-len(mapped) // _MAX_MAPPED) or 1
    return [
        MappedImage(
            prediction.view,
            [
                (
                    SheetLabel(
                        report.names[index],
                        float(prediction.scores[index]),
                        _OUTCOMES[int(prediction.targets[index])],
                    ),
                    heat,
                )
                for index, heat in prediction.maps.items()
            ],
        )
        for prediction in mapped[::step]
    ]


def _numbers(report: RunReport) -> dict:
    content = dict(
        config=report.config,
        phase=report.phase,
        epoch=report.epoch,
        tta=report.tta,
        metrics=report.metrics,
        classes=list(report.classes),
        reliability=_reliability_numbers(report.reliability),
    )
    return _plain(content)


def _reliability_numbers(reliability: dict | None) -> dict | None:
    if reliability is None:
        return None
    return {
        when: {
            name: dict(ECE=bins.expected_calibration_error, **bins._asdict())
            for name, bins in parts.items()
        }
        for when, parts in reliability.items()
    }


def _plain(value):
    """Make JSON of it; NaN, which JSON does not know, becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # of numpy and PyTorch
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)


def _page(report: RunReport, figures: dict[str, dict[str, bytes]]) -> str:
    captions = dict(
        per_class_ap=(
            "Average precision of each class",
            _ap_text(report),
            "Average precision of each class in percent, in the colour of its group; "
            "a dashed line at the mean of the group.",
        ),
        reliability=(
            "Reliability",
            "Whether probabilities are what they say: of labels predicted with 0.3, "
            "three in ten should be there. The calibration is the checkpoint's.",
            "Each point is a fifteenth of the scale, the larger the more labels it "
            "has, faint with fewer than ten; on the dashed line prediction and "
            "observation agree. ECE is the mean gap over all labels, most of which are "
            "clear negatives.",
        ),
        predictions=(
            "Images and predictions",
            "An image with k true labels is given the k labels of highest probability "
            "as its predictions, at least one. The numbers are probabilities.",
            f"{len(report.predictions)} images, evenly spread over the set.",
        ),
        class_maps=(
            "Where the classes are seen",
            "Local pooling scores a class by the places that speak for it. Beside each "
            "image, for its most probable classes, how much each place counts: the "
            "brighter, the more. The numbers are probabilities.",
            "Each image as the model has seen it, and its class activation maps; each "
            "map from 0 to its own maximum.",
        ),
        label_graph=(
            "Label graph",
            "Which classes lend to each other. It is made from the class names alone, "
            "by CLIP's text encoder, before any training.",
            _graph_caption(report),
        ),
        training_curves=(
            "Training",
            "",
            "The loss as logged (faint) and smoothed; the learning rate; the scores of "
            "each validation, with the last value.",
        ),
    )
    sections = _score_sections(report)
    for name, (title, text, caption) in captions.items():
        if name in figures:
            themes = figures[name]
            figure = PageFigure(themes["light"], themes["dark"], caption)
            sections.append(Section(title, text, figures=[figure]))
    if report.classes:
        sections += _class_sections(report.classes)
    return render_page(f"{report.config}: report", sections, _lead(report))


def _lead(report: RunReport) -> str:
    if report.phase is None:
        return f"Training with the config {report.config}; nothing was evaluated."
    text = f"{_PHASE_NAMES[report.phase]} of a model of the config {report.config}"
    if report.epoch is not None:
        text += f" after {report.epoch} epoch{'' if report.epoch == 1 else 's'}"
    if report.tta:
        text += ", averaged over several views of each image"
    return text + "."


def _score_sections(report: RunReport) -> list[Section]:
    metrics = _plain(report.metrics)
    prefixes = {
        name.removesuffix("mAP_head") for name in metrics if name.endswith("mAP_head")
    }
    tables = [_group_table(metrics, prefix, report.classes) for prefix in prefixes]
    shown = {
        f"{prefix}{score}{suffix}"
        for prefix in prefixes
        for score in _GROUP_SCORES
        for suffix in ("", *(f"_{group}" for group in GROUP_COLORS))
    }
    rest = [
        (name, _text(value))
        for name, value in metrics.items()
        if name not in shown and "AP/" not in name
    ]
    if rest:
        tables.append(Table(("score", "value"), rest))
    return [Section("Scores", tables=tables)] if tables else []


def _group_table(metrics: dict, prefix: str, classes: Sequence[dict]) -> Table:
    groups = list(GROUP_COLORS)
    members = [
        [entry for entry in classes if group in (None, entry["group"])]
        for group in (None, *groups)
    ]
    rows = []
    for score in _GROUP_SCORES:
        names = [f"{prefix}{score}", *(f"{prefix}{score}_{group}" for group in groups)]
        if names[0] in metrics:
            cells = [_text(metrics.get(name)) for name in names]
            rows.append((f"{score} in percent", *cells))
    rows += [
        ("classes", *(f"{len(part):,}" for part in members)),
        ("training images of a class", *(_count_range(part) for part in members)),
    ]
    return Table(("", "total", *groups), rows)


def _count_range(classes: Sequence[dict]) -> str:
    counts = [entry["train_count"] for entry in classes]
    if not counts or None in counts:
        return "–"
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _ap_text(report: RunReport) -> str:
    if any(entry["train_count"] is None for entry in report.classes):
        return "Classes in the order of the data set."
    return (
        "From the class with the most training images to that with the fewest; their "
        "numbers stand below, on a logarithmic scale."
    )


def _graph_caption(report: RunReport) -> str:
    graph = report.graph
    if graph is None:
        return ""
    own = np.diagonal(graph.adjacency)
    low, high = own.min(), own.max()
    kept = f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"
    text = (
        "Before: cosine similarity of the classes' text features. After: the weights "
        "that each class (row) gives to its neighbours (columns). The diagonals are "
        f"left blank, 1 before and {kept} after; each scale covers the rest, from the "
        "smallest to the largest."
    )
    if len(graph.names) < graph.num_classes:
        which = "with the most training images" if graph.is_by_count else "first"
        text += f" Of {graph.num_classes:,} classes the {len(graph.names)} {which}."
    elif graph.is_by_count:
        text += " Classes with the most training images come first."
    return text


def _class_sections(classes: Sequence[dict]) -> list[Section]:
    """A table of all classes; of many it is folded, behind one of the extremes."""
    by_count = [classes[i] for i in by_train_count([c["train_count"] for c in classes])]
    table = _class_table(by_count)
    if len(classes) <= _MAX_UNFOLDED:
        return [Section("All classes", tables=[table])]
    order = highest_and_lowest([c["average_precision"] for c in classes], _EXTREMES)
    extremes = _class_table([classes[index] for index in order])
    return [
        Section(f"The {_EXTREMES} highest and {_EXTREMES} lowest", tables=[extremes]),
        Section(
            "All classes",
            "From the class with the most training images to that with the fewest. "
            "Unfolded, the table can be searched with the browser (Ctrl-F).",
            tables=[table],
            folded=f"{len(classes):,} classes",
        ),
    ]


def _class_table(classes: Sequence[dict]) -> Table:
    thresholds = [("threshold", "threshold"), ("f1", "F1 in percent")]
    thresholds = [each for each in thresholds if each[0] in classes[0]]
    rows = [
        (
            entry["name"],
            entry["group"] or "–",
            _text(entry["train_count"]),
            f"{entry['num_positives']:,}",
            _text(_plain(entry["average_precision"])),
            *(_text(_plain(entry[key])) for key, _ in thresholds),
        )
        for entry in classes
    ]
    header = ("class", "group", "training images", "test images", "AP in percent")
    header += tuple(title for _, title in thresholds)
    caption = "Training and test images: those that show the class."
    return Table(header, rows, caption)


def _text(value) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
