"""One's own data: a table, JSON lines, or a folder of label files."""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from capnet_mm.datasets.class_names import (
    check_class_names,
    read_class_names,
    readable_name,
)

from .labelled_set import (
    LabelledImage,
    LabelledSet,
    check_data_root,
    folder_source,
    read_text,
    source,
)
from .split import draw_split
from .table import Row, read_table, split_rows

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
    path_column: str | None = None,
    labels_column: str | None = None,
    separator: str = ";",
    split_column: str | None = None,
    name: str = "custom",
) -> LabelledSet:
    """Read one's own data.

    ``train`` (and ``val``) are, by their names,

    - ``.csv`` or ``.tsv`` with a header: a column of image paths, and either one of
      class names, several parted by ``separator``, or one column a class with 1
      (there), 0 (not there) or -1 (unknown). Class names may also stand as a list
      in Python's notation, ``['cat', 'polar bear']``, as in ML-Decoder's tables;
    - ``.jsonl``: one object a line, ``{"path": "a.jpg", "labels": ["cat"]}``, with
      ``"unknown": ["dog"]`` if need be;
    - a folder of ``.txt`` files, named as the images are, with one class name a line
      (none: an image without labels).

    Args:
        data_root (str | Path): Folder that the images are in.
        train (str | Path): The labels; of all images, if the split is drawn.
        val (str | Path, optional): The labels of the validation images.
        val_fraction (float, optional): Draw this part of ``train`` for validation,
            evenly over the classes (see :func:`draw_split`). Not with ``val``.
        seed (int): Of the drawing. Defaults to 0.
        classes (str | Path | Sequence[str], optional): Class names, or a file with
            them (:func:`~capnet_mm.datasets.read_class_names`); labels may then be
            numbers as well. Defaults to None: all names that occur, sorted; of a
            table with one column a class, the names of the columns.
        image_dir (str): Folder in the data root that image paths start from.
        path_column (str, optional): Column or key of the paths. Defaults to None:
            the first column; the key 'path'.
        labels_column (str, optional): Column or key of the class names. Defaults to
            None: the second of two columns, and with more columns one a class; the
            key 'labels'.
        separator (str): What parts class names in a column. Defaults to ';'.
        split_column (str, optional): Column of a table that says 'train', 'val' or
            'test' (either of these is the validation set here). Neither with ``val``
            nor ``val_fraction``. Defaults to None.
        name (str): Of the data set. Defaults to 'custom'.

    Returns:
        LabelledSet: Split 'train', and 'val' if asked for.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file or an option is wrong; the message names file and line.
    """
    data_root = check_data_root(data_root)
    if val is not None and val_fraction is not None:
        raise ValueError("Give --val or --val-fraction, not both.")
    if split_column is not None and (val is not None or val_fraction is not None):
        raise ValueError("--split-column says it all: leave out --val, --val-fraction.")
    if split_column is not None and Path(train).suffix.lower() not in _TABLES:
        raise ValueError(f"{train}: only a .csv or .tsv table has a --split-column.")
    if Path(name).name != name:
        raise ValueError(f"name={name!r} is no name for files: leave out folders.")
    if not separator:
        raise ValueError("The separator is empty: give a character, e.g. ';'.")
    files = {"train": Path(train).expanduser()}
    if val is not None:
        files["val"] = Path(val).expanduser()

    sources, rows, columns = [], {}, None
    for split, path in files.items():
        if path.is_dir():
            rows[split], read = _read_folder(path, data_root / image_dir)
            sources.append(folder_source(path, read, data_root))
        elif path.suffix.lower() == ".jsonl":
            rows[split] = _read_jsonl(path, path_column, labels_column)
            sources.append(source(path, data_root))
        elif path.suffix.lower() in _TABLES:
            rows[split], found = read_table(
                path, path_column, labels_column, separator, split_column
            )
            columns = found if split == "train" else columns
            sources.append(source(path, data_root))
        else:
            read_text(path, "file of labels", _HINT)  # if it is missing, say so
            raise ValueError(
                f"{path}: expected a .csv, .tsv or .jsonl file or a folder of .txt "
                "files."
            )
        if not rows[split]:
            raise ValueError(f"{path} is empty: it names no image.")
    if split_column is not None:
        rows = split_rows(rows["train"], files["train"], "val")

    names, prompt_names = _class_names(classes, columns, rows, files["train"])
    result = LabelledSet(name, names, prompt_names, {}, sources)
    for split, entries in rows.items():
        result.splits[split] = _labelled(entries, names, image_dir, classes is not None)
    if classes is None and columns is None:
        result.notes.append(
            f"{len(names)} class names were collected from the labels, in "
            "alphabetical order."
        )
    _note_similar_names(result)
    if isinstance(classes, str | Path):
        result.sources.append(source(Path(classes).expanduser(), data_root))
    if val_fraction is not None:
        images = result.splits["train"]
        first, second = draw_split(
            [image.labels for image in images], len(names), val_fraction, seed
        )
        result.splits["train"] = [images[index] for index in first]
        result.splits["val"] = [images[index] for index in second]
        result.options = {"val_fraction": val_fraction, "seed": seed}
        result.notes.append(
            f"val is drawn from train: {len(second):,} of {len(images):,} images, "
            f"seed {seed}, evenly over the classes."
        )
    return result


def _read_jsonl(path: Path, path_key: str | None, labels_key: str | None) -> list[Row]:
    path_key, labels_key = path_key or "path", labels_key or "labels"
    rows = []
    for number, line in enumerate(
        read_text(path, "JSON lines file", _HINT).split("\n"), start=1
    ):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{place} is not valid JSON: {error}.") from error
        image = entry.get(path_key) if isinstance(entry, dict) else None
        names = entry.get(labels_key) if isinstance(entry, dict) else None
        unknown = entry.get("unknown", []) if isinstance(entry, dict) else None
        if not isinstance(image, str) or not (
            _are_names(names) and _are_names(unknown)
        ):
            raise ValueError(
                f"{place}: expected an object with {path_key!r}, the path of an image, "
                f"and {labels_key!r}, a list of class names (and maybe 'unknown', "
                f"another); got {line.strip()}."
            )
        rows.append(
            Row(
                image,
                [str(name).strip() for name in names],
                [str(name).strip() for name in unknown],
                place,
            )
        )
    return rows


def _read_folder(folder: Path, image_dir: Path) -> tuple[list[Row], list[Path]]:
    files = sorted(folder.rglob("*.txt"))
    rows = []
    for path in files:
        text = read_text(path, "label file", _HINT)
        names = [line.strip() for line in text.splitlines() if line.strip()]
        stem = path.relative_to(folder).with_suffix("")
        there = [
            suffix
            for suffix in _SUFFIXES + tuple(suffix.upper() for suffix in _SUFFIXES)
            if (image_dir / f"{stem}{suffix}").is_file()
        ]
        if len({suffix.lower() for suffix in there}) > 1:
            raise ValueError(
                f"{path}: there are several images {stem} in {image_dir} "
                f"({', '.join(there)}); expected one."
            )
        suffix = there[0] if there else _SUFFIXES[0]
        rows.append(Row(f"{stem.as_posix()}{suffix}", names, [], str(path)))
    return rows, files


def _class_names(
    classes: str | Path | Sequence[str] | None,
    columns: list[str] | None,
    rows: dict[str, list[Row]],
    path: Path,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if isinstance(classes, str | Path):
        return read_class_names(classes)
    if classes is not None:
        names = check_class_names(classes, "`classes`")
    elif columns is not None:
        names = check_class_names(columns, f"{path}, line 1")
    else:
        everything = {
            name
            for each in rows.values()
            for row in each
            for name in (*row.names, *row.unknown)
        }
        names = check_class_names(sorted(everything), str(path))
    return names, tuple(readable_name(name) for name in names)


def _labelled(
    rows: list[Row], names: tuple[str, ...], image_dir: str, numbers: bool
) -> list[LabelledImage]:
    label_of = {name: label for label, name in enumerate(names)}
    place_of: dict[str, str] = {}
    images = []
    for row in rows:
        if not row.path:
            raise ValueError(f"{row.place}: the path of the image is empty.")
        path = str(PurePosixPath(image_dir) / row.path.replace("\\", "/"))
        if path in place_of:
            raise ValueError(
                f"{row.place}: image {row.path!r} is already at {place_of[path]}; give "
                "each image once, with all its labels."
            )
        place_of[path] = row.place
        labels, unknown = (
            {_label(name, label_of, numbers, row.place) for name in each}
            for each in (row.names, row.unknown)
        )
        if labels & unknown:
            raise ValueError(
                f"{row.place}: {names[min(labels & unknown)]!r} is given as a label "
                "and as unknown; decide for one."
            )
        images.append(
            LabelledImage(path, tuple(sorted(labels)), tuple(sorted(unknown)))
        )
    return images


def _label(name: str, label_of: dict[str, int], numbers: bool, place: str) -> int:
    if name in label_of:
        return label_of[name]
    if numbers and name.isascii() and name.isdecimal() and int(name) < len(label_of):
        return int(name)
    raise ValueError(
        f"{place}: label {name!r} is none of the {len(label_of)} classes; add it to "
        "them, or correct it."
    )


def _note_similar_names(result: LabelledSet) -> None:
    by_key: dict[str, list[str]] = {}
    for name in result.classes:
        by_key.setdefault(readable_name(name).casefold(), []).append(name)
    for similar in by_key.values():
        if len(similar) > 1:
            result.notes.append(f"Are these one class? {', '.join(map(repr, similar))}")


def _are_names(names: object) -> bool:
    # bool is an int in Python, but true is no label.
    return isinstance(names, list) and all(type(name) in (str, int) for name in names)
