"""The report of a preparation, as text."""

from collections.abc import Iterable, Sequence

from capnet_mm.evaluation.frequency_groups import by_train_count, group_of
from capnet_mm.tables import Table

from .checks import SetReport
from .labelled_set import LabelDifference


def format_report(report: SetReport, limit: int | None = None) -> str:
    """What is in a set and what is wrong with it, with a line break at the end.

    Of each list of images, at most ``limit`` lines are shown; None for all.
    """
    of = report.labelled_set
    parts = [_overview(report)]
    if report.published_numbers:
        parts.append(_published(report))
    parts.append(_counts(report))
    if of.notes:
        parts.append(_list("Notes", of.notes, None))
    if of.differences:
        lines = [_difference(each, of.classes) for each in of.differences]
        parts.append(_list("Labels on which list and annotations differ", lines, limit))
    broken = {
        split: [f"{path}: {reason}" for path, reason in reason_of.items()]
        for split, reason_of in report.broken.items()
    }
    checked, opened = report.images_checked, report.images_opened
    for title, tried, lines in (
        ("in two splits, by path", True, map(" = ".join, report.same_path)),
        ("in two splits, by their bytes", checked, map(" = ".join, report.same_bytes)),
        ("that are missing", checked, _in_splits(report.missing)),
        ("that do not open", opened, _in_splits(broken)),
    ):
        title = f"Images {title}"
        parts.append(_list(title, lines, limit) if tried else f"{title}: not tried")
    return "\n\n".join(parts) + "\n"


def _in_splits(lines: dict[str, list[str]]) -> list[str]:
    return [f"{split}: {line}" for split, each in lines.items() for line in each]


def _overview(report: SetReport) -> str:
    labelled_set, counts = report.labelled_set, report.class_counts
    lines = [f"Data set {labelled_set.name}: {len(labelled_set.classes)} classes"]
    for split, images in labelled_set.splits.items():
        unlabelled = sum(not image.labels for image in images)
        unknown = sum(len(image.unknown) for image in images)
        lines.append(
            f"{split}: {len(images):,} images, {sum(counts[split]):,} labels, "
            f"{unlabelled:,} images without label"
            + (f", {unknown:,} unknown labels" if unknown else "")
        )
    sizes = ", ".join(f"{len(each)} {name}" for name, each in report.groups.items())
    return "\n  ".join([*lines, f"classes by training images: {sizes}"])


def _published(report: SetReport) -> str:
    lines = ["Beside the published figures"]
    for name, found, published in report.published_numbers:
        differs = f"DIFFERS, published: {_number(published)}"
        verdict = "as published" if found == published else differs
        lines.append(f"{name}: {_number(found)}, {verdict}")
    return "\n  ".join(lines)


def _counts(report: SetReport) -> str:
    names, counts = report.labelled_set.classes, report.class_counts
    group = group_of(report.groups)
    rows = [
        (names[c], *(f"{each[c]:,}" for each in counts.values()), group[c])
        for c in by_train_count(counts["train"])
    ]
    align = f"l{'r' * len(counts)}l"
    table = Table(("class", *counts, "group"), rows, align=align).to_text()
    return "\n  ".join(["Images of each class", *table.splitlines()])


def _difference(difference: LabelDifference, names: Sequence[str]) -> str:
    split, path, *both = difference
    listed, derived = (", ".join(names[c] for c in each) or "none" for each in both)
    return f"{split}: {path}: the list has {listed}; by the annotations {derived}"


def _list(title: str, lines: Iterable[str], limit: int | None) -> str:
    lines = list(lines)
    shown = lines[:limit]
    if len(shown) < len(lines):
        shown.append(f"… and {len(lines) - len(shown):,} more")
    return "\n  ".join([f"{title}: {f'{len(lines):,}' if lines else 'none'}", *shown])


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else " / ".join(map(str, value))
