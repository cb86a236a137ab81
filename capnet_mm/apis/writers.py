"""Writing results as JSON lines, CSV or a table, one picture after the other."""

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from ..tables import Table

_DIGITS = 6
CSV_COLUMNS = ("image_path", "label", "score", "group", "error")


def write_json_lines(results: Iterable[dict], file: TextIO) -> Iterator[dict]:
    """Write a JSON object a picture and line, without the thresholds.

    Args:
        results: Of :meth:`~capnet_mm.apis.MultiLabelInferencer.stream`.
        file: Open text file.

    Yields:
        Each result, once it is written.
    """
    for result in results:
        shown = {key: value for key, value in result.items() if key != "thresholds"}
        shown["pred_score"] = _rounded(result["pred_score"])
        if "pred_scores" in shown:
            shown["pred_scores"] = _rounded(shown["pred_scores"])
        file.write(json.dumps(shown, ensure_ascii=False) + "\n")
        file.flush()
        yield result


def write_csv(results: Iterable[dict], file: TextIO) -> Iterator[dict]:
    """Write a line a picture; several labels stand in one cell, with commas between.

    Args:
        results: Of :meth:`~capnet_mm.apis.MultiLabelInferencer.stream`.
        file: Open text file, with ``newline=''``.

    Yields:
        Each result, once it is written.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for result in results:
        names = ",".join(result["pred_class"])
        scores = ",".join(map(str, _rounded(result["pred_score"])))
        groups = ",".join(group or "" for group in result["pred_group"])
        path, error = result["img_path"], result.get("error", "")
        writer.writerow([path, names, scores, groups, error])
        yield result


def write_table(results: Iterable[dict]) -> Iterator[dict]:
    """Print a table when all results are there.

    Args:
        results: Of :meth:`~capnet_mm.apis.MultiLabelInferencer.stream`.

    Yields:
        Each result, before the table is printed.
    """
    rows = []
    for result in results:
        if "error" in result:
            rows.append((result["img_path"], f"error: {result['error']}", "", ""))
        else:
            columns = (
                result["pred_class"] or ["–"],
                [f"{score:.3f}" for score in result["pred_score"]],
                [group or "" for group in result["pred_group"]],
            )
            rows.append((result["img_path"], *map("\n".join, columns)))
        yield result
    Table(("picture", "label", "score", "group"), rows, align="llrl").print()


@contextmanager
def open_writer(path: str) -> Iterator:
    """Open a file whose ending says what is written.

    Args:
        path: ``….jsonl`` or ``….csv``.

    Yields:
        A function of results, as :func:`write_json_lines`.

    Raises:
        ValueError: Another ending.
    """
    writers = {".jsonl": write_json_lines, ".csv": write_csv}
    found = [writer for end, writer in writers.items() if path.lower().endswith(end)]
    if not found:
        raise ValueError(f"--out {path}: expected a name that ends in .jsonl or .csv.")
    with open(path, "w", encoding="utf-8", newline="") as file:
        yield lambda results: found[0](results, file)


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]
