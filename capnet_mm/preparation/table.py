"""Rows of image paths and class names: of CSV and TSV, and how they get labels."""

import ast
import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from capnet_mm.datasets.list_files import read_text
from capnet_mm.plain_text import shown

from .labelled_set import LabelledImage
from .reading import SourceFiles, clean_path, wrong

_SPLITS = ("train", "val", "test")


class LabelRow(NamedTuple):
    """One image of a table, or of another form with class names."""

    path: str
    names: list[str]
    unknown: list[str]  # classes of which it is not known whether it shows them
    place: str  # for error messages: "table.csv, line 3"
    split: str = ""  # what the column of splits says, if there is one


class Columns(NamedTuple):
    """Columns of a table, or keys of JSON lines, by what they say."""

    path_column: str | None = None  # by default the first column; the key 'path'
    # Class names; by default the other one of two columns (beside that of splits), and
    # with more, each column is a class; the key 'labels'.
    labels_column: str | None = None
    split_column: str | None = None  # 'train', 'val' or 'test'; of tables only
    separator: str = ";"  # between class names in a column


def read_table(
    files: SourceFiles, path: Path, columns: Columns
) -> tuple[list[LabelRow], list[str] | None]:
    """Rows of a table with a header, and the classes if there is a column for each.

    A ``.tsv`` file is parted by tabs, all others by commas. Errors name the line.
    """
    text = read_text(path, "table", "check the options that name your files.")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        header = [cell.strip() for cell in next(reader, [])]
        columns, classes = _resolve(columns, header, f"{path}, line 1")
        for cells in reader:
            place = f"{path}, line {reader.line_num}"
            if not any(map(str.strip, cells)):
                continue
            if len(cells) != len(header):
                found = f"{len(cells)} columns, but the header has {len(header)}"
                raise ValueError(f"{place}: {found}.")
            cell_of = dict(zip(header, map(str.strip, cells), strict=True))
            rows.append(_row(cell_of, columns, classes, place))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}.") from error
    files.record(path)
    return rows, None if columns.labels_column else classes


def split_rows(
    rows: list[LabelRow], path: Path, held_out: str
) -> dict[str, list[LabelRow]]:
    """Part rows by the column of splits; those not for training are ``held_out``."""
    found = sorted({row.split for row in rows})
    if len(found) != 2 or "train" not in found:
        raise ValueError(
            f"{path}: its column of splits says {', '.join(found) or 'nothing'}; "
            "expected 'train' and one of 'val' and 'test'."
        )
    return {
        "train": [row for row in rows if row.split == "train"],
        held_out: [row for row in rows if row.split != "train"],
    }


def label_rows(
    rows: list[LabelRow], classes: Sequence[str], image_dir: str, numbers: bool = True
) -> list[LabelledImage]:
    """Turn class names (with ``numbers``, also positions in ``classes``) into labels.

    ``ValueError`` where a class is unknown, or given as a label and as unknown.
    """
    label_of = {name: label for label, name in enumerate(classes)}
    images = []
    for row in rows:
        labels, unknown = (
            {_label(name, label_of, numbers, row.place) for name in names}
            for names in (row.names, row.unknown)
        )
        if labels & unknown:
            name = classes[min(labels & unknown)]
            both = f"{shown(name)} is given as a label and as unknown"
            raise ValueError(f"{row.place}: {both}; decide for one.")
        path = str(PurePosixPath(image_dir) / row.path)
        image = LabelledImage(path, tuple(sorted(labels)), tuple(sorted(unknown)))
        images.append(image)
    return images


def are_names(names: object) -> bool:
    """Whether this is a list of class names (or of numbers of classes)."""
    # bool is an int in Python, but true is no label.
    return isinstance(names, list) and all(type(name) in (str, int) for name in names)


def _resolve(
    columns: Columns, header: list[str], place: str
) -> tuple[Columns, list[str]]:
    """The columns with all their names, and those of one class each."""
    if len(header) < 2 or len(set(header)) != len(header):
        expected = "a header with a column of paths and more, all names different"
        raise wrong(place, expected, header)
    for name in columns[:3]:
        if name and name not in header:
            raise ValueError(
                f"{place}: there is no column {name!r} in {shown(header)}."
            )
    path_column = columns.path_column or header[0]
    known = (path_column, columns.split_column)
    others = [name for name in header if name not in known]
    labels_column = columns.labels_column or (others[0] if len(others) == 1 else None)
    columns = columns._replace(path_column=path_column, labels_column=labels_column)
    return columns, others


def _row(
    cell_of: dict[str, str], columns: Columns, classes: list[str], place: str
) -> LabelRow:
    path = clean_path(cell_of[columns.path_column])
    split = cell_of.get(columns.split_column, "")
    if columns.split_column and split not in _SPLITS:
        known = ", ".join(_SPLITS)
        raise ValueError(f"{place}: split {shown(split)} is none of {known}.")
    if columns.labels_column:
        cell = cell_of[columns.labels_column]
        return LabelRow(path, _names(cell, columns.separator, place), [], place, split)
    for name in classes:
        if cell_of[name] not in ("0", "1", "-1"):
            raise ValueError(
                f"{place}, column {shown(name)}: expected 0, 1 or -1, got "
                f"{shown(cell_of[name])} "
                "(is this a table with class names? then name their column with "
                "--labels-column)."
            )
    names = [name for name in classes if cell_of[name] == "1"]
    unknown = [name for name in classes if cell_of[name] == "-1"]
    return LabelRow(path, names, unknown, place, split)


def _names(cell: str, separator: str, place: str) -> list[str]:
    """Class names that are parted by the separator or a list in Python's notation."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return [name.strip() for name in cell.split(separator) if name.strip()]
    try:
        names = ast.literal_eval(cell)  # literals only: it runs no code
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        names = None
    if not are_names(names):
        raise wrong(place, "class names as a list, ['cat', 'dog']", cell)
    return [str(name).strip() for name in names]


def _label(name: str, label_of: dict[str, int], numbers: bool, place: str) -> int:
    if name in label_of:
        return label_of[name]
    if numbers and name.isascii() and name.isdecimal() and int(name) < len(label_of):
        return int(name)
    known = f"none of the {len(label_of)} classes"
    known += f" and no number from 0 to {len(label_of) - 1}" if numbers else ""
    raise ValueError(f"{place}: label {shown(name)} is {known}; add it, or correct it.")
