"""The report of a preparation, as text."""

from collections.abc import Sequence

from .checks import Report


def format_report(report: Report, limit: int | None = None) -> str:
    """Say what is in a set and what is wrong with it.

    Args:
        report (Report): What :func:`check_set` found.
        limit (int, optional): At most this many lines of each list of images.
            Defaults to None: all.

    Returns:
        str: The text, with a line break at its end.
    """
    parts = [
        _overview(report),
        _published(report),
        _counts(report),
        _list("Notes", report.labelled_set.notes),
        _differences(report, limit),
        *_images(report, limit),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _overview(report: Report) -> str:
    labelled_set = report.labelled_set
    lines = [f"Data set {labelled_set.name}: {len(labelled_set.classes)} classes"]
    for split, images in labelled_set.splits.items():
        unlabelled = sum(not image.labels for image in images)
        lines.append(
            f"  {split}: {len(images):,} images, {sum(report.class_counts[split]):,} "
            f"labels, {unlabelled:,} images without label"
        )
        if unknown := sum(len(image.unknown) for image in images):
            lines[-1] += f", {unknown:,} unknown labels"
    sizes = ", ".join(f"{len(each)} {name}" for name, each in report.groups.items())
    lines.append(f"  classes by training images: {sizes}")
    return "\n".join(lines)


def _published(report: Report) -> str:
    lines = []
    for name, found, published in report.figures:
        verdict = "as published"
        if found != published:
            verdict = f"DIFFERS, published: {_number(published)}"
        lines.append(f"{name}: {_number(found)}, {verdict}")
    if not lines:
        return ""
    return "\n  ".join(["Beside the published figures", *lines])


def _counts(report: Report) -> str:
    labelled_set = report.labelled_set
    group_of = {
        label: name for name, labels in report.groups.items() for label in labels
    }
    width = max(map(len, labelled_set.classes))
    splits = list(labelled_set.splits)
    lines = ["Images of each class"]
    lines.append(f"  {'':{width}}" + "".join(f"{split:>9}" for split in splits))
    train = report.class_counts["train"]
    for label in sorted(range(len(train)), key=lambda label: -train[label]):
        numbers = "".join(f"{report.class_counts[split][label]:9,}" for split in splits)
        name = labelled_set.classes[label]
        lines.append(f"  {name:{width}}{numbers}  {group_of[label]}")
    return "\n".join(lines)


def _differences(report: Report, limit: int | None) -> str:
    names = report.labelled_set.classes

    def written(labels: Sequence[int]) -> str:
        return ", ".join(names[label] for label in labels) or "none"

    lines = [
        f"{split}: {path}: the list has {written(listed)}; by the annotations "
        f"{written(derived)}"
        for split, path, listed, derived in report.labelled_set.differences
    ]
    return _list("Labels on which list and annotations differ", lines, limit)


def _images(report: Report, limit: int | None) -> list[str]:
    missing = [
        f"{split}: {path}" for split, each in report.missing.items() for path in each
    ]
    broken = [
        f"{split}: {path}: {reason}"
        for split, each in report.broken.items()
        for path, reason in each.items()
    ]
    same_path = [f"{first} = {second}" for first, second in report.same_path]
    same_bytes = [f"{first} = {second}" for first, second in report.same_bytes]
    parts = [_list("Images in two splits, by path", same_path, limit, none="none")]
    if not report.images_checked:
        return [*parts, "Images: not looked for"]
    parts += [
        _list("Images in two splits, by their bytes", same_bytes, limit, none="none"),
        _list("Images that are missing", missing, limit, none="none"),
    ]
    if not report.images_opened:
        return [*parts, "Images that do not open: not tried"]
    return [*parts, _list("Images that do not open", broken, limit, none="none")]


def _list(
    title: str, lines: Sequence[str], limit: int | None = None, none: str = ""
) -> str:
    if not lines:
        return f"{title}: {none}" if none else ""
    shown = list(lines[:limit])
    if len(shown) < len(lines):
        shown.append(f"… and {len(lines) - len(shown):,} more")
    return "\n".join([f"{title}: {len(lines):,}", *(f"  {line}" for line in shown)])


def _number(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return " / ".join(map(str, value))
