"""One's own data: a table, JSON lines, or a folder of label files.

Labels stand, by the name of their file, in

- ``.csv`` or ``.tsv`` with a header: a column of image paths, and either one of class
  names, several parted by a separator, or one column a class with 1 (there), 0 (not
  there) or -1 (unknown). Class names may also stand as a list in Python's notation,
  ``['cat', 'polar bear']``, as in ML-Decoder's tables;
- ``.jsonl``: one object a line, ``{"path": "a.jpg", "labels": ["cat"]}``, with
  ``"unknown": ["dog"]`` if need be;
- a folder of ``.txt`` files, named as the images are, with one class name a line
  (none: an image without labels).
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from capnet_mm.datasets.class_names import (
    check_class_names,
    read_class_names,
    readable_name,
)
from capnet_mm.datasets.list_files import check_images, parse_json, read_text

from .labelled_set import LabelledSet
from .reading import SourceFiles, clean_path, wrong
from .split import draw_split
from .table import Columns, LabelRow, are_names, label_rows, read_table, split_rows

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_TABLES = (".csv", ".tsv")
_HINT = "check --train and --val."


def read_own_data(
    data_root: str | Path,
    train: str | Path,
    val: str | Path | None = None,
    val_fraction: float | None = None,
    seed: int = 0,
    classes: str | Path | Sequence[str] | None = None,
    image_dir: str = "",
    name: str = "custom",
    **columns: str | None,
) -> LabelledSet:
    """Read one's own data, in one of the forms that this module describes.

    Args:
        data_root (str | Path): Folder that the images are in.
        train (str | Path): The labels of the training images, or of all images if the
            split is drawn.
        val (str | Path, optional): The labels of the validation images.
        val_fraction (float, optional): Part of ``train`` to draw for validation, with
            ``seed``, by :func:`draw_split`; excludes ``val``.
        seed (int): Seed of the drawing. Defaults to 0.
        classes (str | Path | Sequence[str], optional): Class names, or a file of them
            (:func:`~capnet_mm.datasets.read_class_names`); labels may then be numbers
            as well. Defaults to all names that occur, sorted; of a table with one
            column a class, to the names of the columns.
        image_dir (str): Folder in the data root that image paths start from.
        name (str): Name of the data set, which its files begin with. Defaults to
            'custom'.
        **columns: Fields of :class:`~.table.Columns`. With ``split_column``, neither
            ``val`` nor ``val_fraction``; 'test' is the validation set as well.
    """
    files, columns = SourceFiles(data_root), Columns(**columns)
    paths = {"train": train} if val is None else {"train": train, "val": val}
    paths = {split: Path(path).expanduser() for split, path in paths.items()}
    _check_options(paths, val_fraction, name, columns)
    rows, class_columns = _read_rows(files, paths, image_dir, columns)
    names, prompt_names = _class_names(classes, class_columns, rows, paths["train"])
    numbers = classes is not None
    splits = {
        s: label_rows(part, names, image_dir, numbers) for s, part in rows.items()
    }
    result = LabelledSet(name, names, prompt_names, splits, files.records)
    _note_names(result, collected=classes is None and class_columns is None)
    if isinstance(classes, str | Path):
        files.record(Path(classes).expanduser())
    if val_fraction is not None:
        _draw_val(result, val_fraction, seed)
    return result


def _check_options(
    paths: dict[str, Path], val_fraction: float | None, name: str, columns: Columns
) -> None:
    train, held_out = paths["train"], ("val" in paths) + (val_fraction is not None)
    if held_out > 1:
        raise ValueError("Give --val or --val-fraction, not both.")
    if columns.split_column is not None and held_out:
        raise ValueError("--split-column says it all: leave out --val, --val-fraction.")
    if columns.split_column is not None and train.suffix.lower() not in _TABLES:
        raise ValueError(f"{train}: only a .csv or .tsv table has a --split-column.")
    if Path(name).name != name:
        raise ValueError(f"name={name!r} is no name for files: leave out folders.")
    if not columns.separator:
        raise ValueError("The separator is empty: give a character, e.g. ';'.")


def _read_rows(
    files: SourceFiles, paths: dict[str, Path], image_dir: str, columns: Columns
) -> tuple[dict[str, list[LabelRow]], list[str] | None]:
    """Rows by split, and the class names that the columns of the first table are."""
    rows, class_columns = {}, {}
    for split, path in paths.items():
        if path.is_dir():
            rows[split] = _read_folder(files, path, image_dir)
        elif path.suffix.lower() == ".jsonl":
            rows[split] = _read_jsonl(files, path, columns)
        elif path.suffix.lower() in _TABLES:
            rows[split], class_columns[split] = read_table(files, path, columns)
        else:
            read_text(path, "file of labels", _HINT)  # if it is missing, say so
            forms = "a .csv, .tsv or .jsonl file or a folder of .txt files"
            raise ValueError(f"{path}: expected {forms}.")
    if columns.split_column is not None and rows["train"]:
        rows = split_rows(rows["train"], paths["train"], "val")
    for split, part in rows.items():
        path = paths.get(split, paths["train"])
        check_images(((row.path, row.place) for row in part), path)
    return rows, class_columns.get("train")


def _read_jsonl(files: SourceFiles, path: Path, columns: Columns) -> list[LabelRow]:
    keys = columns.path_column or "path", columns.labels_column or "labels"
    expected = (
        f"an object with {keys[0]!r}, the path of an image, and {keys[1]!r}, a list of "
        "class names (and maybe 'unknown', another)"
    )

    def parse(line: str, place: str) -> LabelRow:
        entry = parse_json(line, place)
        entry = entry if isinstance(entry, dict) else {}
        image, names = map(entry.get, keys)
        unknown = entry.get("unknown", [])
        if not (isinstance(image, str) and are_names(names) and are_names(unknown)):
            raise wrong(place, expected, line.strip())
        names, unknown = ([str(n).strip() for n in each] for each in (names, unknown))
        return LabelRow(clean_path(image), names, unknown, place)

    return files.read_images(path, _HINT, parse)


def _read_folder(files: SourceFiles, folder: Path, image_dir: str) -> list[LabelRow]:
    paths, image_dir = sorted(folder.rglob("*.txt")), files.root / image_dir
    suffixes = (*_SUFFIXES, *map(str.upper, _SUFFIXES))
    rows = []
    for path in paths:
        names = map(str.strip, read_text(path, "label file", _HINT).split("\n"))
        stem = path.relative_to(folder).with_suffix("").as_posix()
        there = [each for each in suffixes if (image_dir / f"{stem}{each}").is_file()]
        if len({suffix.lower() for suffix in there}) > 1:
            images = f"several images {stem} in {image_dir} ({', '.join(there)})"
            raise ValueError(f"{path}: there are {images}; expected one.")
        image = stem + (there or _SUFFIXES)[0]  # .jpg, to be named as missing
        rows.append(LabelRow(image, list(filter(None, names)), [], str(path)))
    files.record(folder, paths)
    return rows


def _class_names(
    classes: str | Path | Sequence[str] | None,
    columns: list[str] | None,
    rows: dict[str, list[LabelRow]],
    path: Path,
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Names of the classes, and names for prompts if a file gives them."""
    if isinstance(classes, str | Path):
        return read_class_names(classes)
    if classes is not None:
        return check_class_names(classes, "`classes`"), None
    if columns is not None:
        return check_class_names(columns, f"{path}, line 1"), None
    every_row = [row for part in rows.values() for row in part]
    found = {name for row in every_row for name in row.names + row.unknown}
    return check_class_names(sorted(found), str(path)), None


def _note_names(result: LabelledSet, collected: bool) -> None:
    if collected:
        result.notes.append(
            f"{len(result.classes)} class names were collected from the labels, in "
            "alphabetical order."
        )
    similar = defaultdict(list)
    for name in result.classes:
        similar[readable_name(name).casefold()].append(repr(name))
    for names in similar.values():
        if len(names) > 1:
            result.notes.append(f"Are these one class? {', '.join(names)}")


def _draw_val(result: LabelledSet, fraction: float, seed: int) -> None:
    images = result.splits["train"]
    labels = [image.labels for image in images]
    first, second = draw_split(labels, len(result.classes), fraction, seed)
    result.splits["train"] = [images[index] for index in first]
    result.splits["val"] = [images[index] for index in second]
    result.options = {"val_fraction": fraction, "seed": seed}
    result.notes.append(
        f"val is drawn from train: {len(second):,} of {len(images):,} images, seed "
        f"{seed}, evenly over the classes."
    )
