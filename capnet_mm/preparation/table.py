"""Tables of images and labels: CSV and TSV."""

import ast
import csv
import io
from pathlib import Path
from typing import NamedTuple

from .labelled_set import read_text

_SPLITS = ("train", "val", "test")


class Row(NamedTuple):
    """One image of a table, or of another form of one's own data.

    Args:
        path (str): Of the image, as it stands there.
        names (list[str]): Its classes.
        unknown (list[str]): Classes of which it is not known whether it shows them.
        place (str): Where it stands, for error messages ("table.csv, line 3").
        split (str): What the column of splits says. Defaults to '': there is none.
    """

    path: str
    names: list[str]
    unknown: list[str]
    place: str
    split: str = ""


def read_table(
    path: Path,
    path_column: str | None = None,
    labels_column: str | None = None,
    separator: str = ";",
    split_column: str | None = None,
) -> tuple[list[Row], list[str] | None]:
    """Read a table with a header.

    Args:
        path (Path): A ``.tsv`` file is parted by tabs, all others by commas.
        path_column (str, optional): Column of the image paths. Defaults to None: the
            first.
        labels_column (str, optional): Column of class names. Defaults to None: the
            other one of two (beside ``split_column``), and with more, one a class.
        separator (str): What parts class names in a column. Defaults to ';'.
        split_column (str, optional): Column of 'train', 'val' or 'test'.

    Returns:
        tuple[list[Row], list[str] | None]: Rows, and the names of the classes if
        there is one column for each.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is wrong; the message names file and line.
    """
    text = read_text(path, "table", "check the options that name your files.")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if len(header) < 2 or len(set(header)) != len(header):
            raise ValueError(
                f"{path}, line 1: expected a header with a column of paths and at "
                f"least one more, all names different; got {header}."
            )
        path_at = _column(header, path_column, path) if path_column else 0
        split_at = _column(header, split_column, path) if split_column else None
        others = [i for i in range(len(header)) if i not in (path_at, split_at)]
        labels_at = _column(header, labels_column, path) if labels_column else None
        if labels_at is None and len(others) == 1:
            labels_at = others[0]
        for cells in reader:
            place = f"{path}, line {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise ValueError(
                    f"{place}: {len(cells)} columns, but the header has {len(header)}."
                )
            if labels_at is not None:
                names, unknown = _names(cells[labels_at], separator, place), []
            else:
                names, unknown = [], []
                for index in others:
                    value = _number(cells[index], header[index], place)
                    if value:
                        (names if value == 1 else unknown).append(header[index])
            split = "" if split_at is None else _split(cells[split_at], place)
            rows.append(Row(cells[path_at].strip(), names, unknown, place, split))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}.") from error
    columns = None if labels_at is not None else [header[index] for index in others]
    return rows, columns


def split_rows(rows: list[Row], path: Path, held_out: str) -> dict[str, list[Row]]:
    """Part the rows of one table by what its column of splits says.

    Args:
        rows (list[Row]): Of :func:`read_table` with a ``split_column``.
        path (Path): The table, for error messages.
        held_out (str): What the images that are not for training are called here:
            'val' or 'test'.

    Returns:
        dict[str, list[Row]]: 'train' and ``held_out``.

    Raises:
        ValueError: One of the two is empty, or there are three splits.
    """
    found = sorted({row.split for row in rows})
    if len(found) != 2 or "train" not in found:
        raise ValueError(
            f"{path}: its column of splits says {', '.join(found)}; expected 'train' "
            "and one of 'val' and 'test'."
        )
    parts: dict[str, list[Row]] = {"train": [], held_out: []}
    for row in rows:
        parts["train" if row.split == "train" else held_out].append(row)
    return parts


def _names(cell: str, separator: str, place: str) -> list[str]:
    """Class names of a cell: parted by the separator, or a list as Python writes it."""
    cell = cell.strip()
    if not (cell.startswith("[") and cell.endswith("]")):
        return [name.strip() for name in cell.split(separator) if name.strip()]
    try:
        names = ast.literal_eval(cell)  # literals only: it runs no code
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(
            f"{place}: expected class names as a list, ['cat', 'dog'], got {cell!r}."
        ) from error
    if not isinstance(names, list) or not all(type(n) in (str, int) for n in names):
        raise ValueError(
            f"{place}: expected class names as a list, ['cat', 'dog'], got {cell!r}."
        )
    return [str(name).strip() for name in names]


def _split(cell: str, place: str) -> str:
    if cell.strip() not in _SPLITS:
        raise ValueError(f"{place}: split {cell!r} is none of {', '.join(_SPLITS)}.")
    return cell.strip()


def _column(header: list[str], name: str, path: Path) -> int:
    if name not in header:
        raise ValueError(f"{path}, line 1: there is no column {name!r} in {header}.")
    return header.index(name)


def _number(cell: str, name: str, place: str) -> int:
    if cell.strip() not in ("0", "1", "-1"):
        raise ValueError(
            f"{place}, column {name!r}: expected 0, 1 or -1, got {cell!r} (is this a "
            "table with class names? then name their column with --labels-column)."
        )
    return int(cell)
