"""The report of a preparation, as text."""

from collections.abc import Iterable

from capnet_mm.evaluation.frequency_groups import by_train_count, group_of

from .checks import Report
from .labelled_set import LabelledSet, Labels


def format_report(report: Report, limit: int | None = None) -> str:
    """What is in a set and what is wrong with it, with a line break at the end.

    Of each list of images, at most ``limit`` lines are shown; None for all.
    """
    labelled_set = report.labelled_set
    parts = [_overview(report), _published(report), _counts(report)]
    if labelled_set.notes:
        parts.append(_list("Notes", labelled_set.notes, None))
    if lines := [_difference(*each, labelled_set) for each in labelled_set.differences]:
        parts.append(_list("Labels on which list and annotations differ", lines, limit))
    lines = map(" = ".join, report.same_path)
    parts.append(_list("Images in two splits, by path", lines, limit))
    if not report.images_checked:
        return "\n\n".join([*filter(None, parts), "Images: not looked for\n"])
    lines = map(" = ".join, report.same_bytes)
    parts.append(_list("Images in two splits, by their bytes", lines, limit))
    lines = [f"{split}: {each}" for split, of in report.missing.items() for each in of]
    parts.append(_list("Images that are missing", lines, limit))
    lines = [
        f"{split}: {path}: {reason}"
        for split, reason_of in report.broken.items()
        for path, reason in reason_of.items()
    ]
    title = "Images that do not open"
    opened = report.images_opened
    parts.append(_list(title, lines, limit) if opened else f"{title}: not tried")
    return "\n\n".join(filter(None, parts)) + "\n"


def _overview(report: Report) -> str:
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


def _published(report: Report) -> str:
    lines = ["Beside the published figures"]
    for name, found, published in report.figures:
        differs = f"DIFFERS, published: {_number(published)}"
        verdict = "as published" if found == published else differs
        lines.append(f"{name}: {_number(found)}, {verdict}")
    return "\n  ".join(lines) if report.figures else ""


def _counts(report: Report) -> str:
    names, counts = report.labelled_set.classes, report.class_counts
    group = group_of(report.groups)
    width = max(map(len, names))
    lines = [f"{'':{width}}" + "".join(f"{split:>9}" for split in counts)]
    for label in by_train_count(counts["train"]):
        numbers = "".join(f"{each[label]:9,}" for each in counts.values())
        lines.append(f"{names[label]:{width}}{numbers}  {group[label]}")
    return "\n  ".join(["Images of each class", *lines])


def _difference(
    split: str, path: str, listed: Labels, derived: Labels, labelled_set: LabelledSet
) -> str:
    names = labelled_set.classes
    listed, derived = (
        ", ".join(names[label] for label in labels) or "none"
        for labels in (listed, derived)
    )
    return f"{split}: {path}: the list has {listed}; by the annotations {derived}"


def _list(title: str, lines: Iterable[str], limit: int | None) -> str:
    lines = list(lines)
    shown = lines[:limit]
    if len(shown) < len(lines):
        shown.append(f"… and {len(lines) - len(shown):,} more")
    return "\n  ".join([f"{title}: {f'{len(lines):,}' if lines else 'none'}", *shown])


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else " / ".join(map(str, value))
