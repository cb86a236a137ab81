"""Grids: configs times named overrides, each combination a row of one table."""

import re
import runpy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from pprint import pformat

from mmengine.config import Config

from capnet_mm.fileio import replace_files

from .runs import check_unique


@dataclass(frozen=True)
class Grid:
    """What a grid file says.

    Attributes:
        rows: Config file and overrides of each row, by its label.
        reference: Label of the row that all others are compared with.
        tta: Whether each row is also tested with the test-time ensemble.
    """

    rows: dict[str, tuple[Path, dict]]
    reference: str
    tta: bool


def read_grid(path: str | Path) -> Grid:
    """Read a grid file.

    It is Python and assigns ``configs``, config files by label, their paths from the
    grid file; and may assign ``axes``, a list of dicts of overrides by label, of which
    each is combined with each; ``reference``, the label of a row (default: the
    first); and ``tta`` (default: False). Overrides are a dict as in a config, whose
    keys may be dotted: ``{'model.head.pooling': None}``. A row's label is made of the
    labels that are not empty.

    Args:
        path: The file.

    Returns:
        The grid.

    Raises:
        FileNotFoundError: There is no such file, or a config that it names.
        ValueError: Names are missing, unknown or not unique.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no grid file {path}.")
    content = runpy.run_path(str(path))
    known = ("configs", "axes", "reference", "tta")
    content = {name: content[name] for name in known if name in content}
    if not content.get("configs"):
        raise ValueError(
            f"{path} has no rows: it must assign configs = {{'label': 'config.py'}}, "
            f"and may assign {', '.join(known[1:])}."
        )
    rows = []
    for first, *others in product(
        content["configs"].items(), *(axis.items() for axis in content.get("axes", ()))
    ):
        config = (path.parent / first[1]).resolve()
        if not config.is_file():
            raise FileNotFoundError(f"{path} names {first[1]}: there is no {config}.")
        label = ", ".join(name for name, _ in (first, *others) if name)
        rows.append((label, (config, _merge(overrides for _, overrides in others))))
    labels = [label for label, _ in rows]
    check_unique("label", labels)
    reference = content.get("reference", labels[0])
    if reference not in labels:
        raise ValueError(
            f"{path}: reference = {reference!r} is none of the rows, {labels}."
        )
    return Grid(dict(rows), reference, bool(content.get("tta", False)))


def write_configs(grid: Grid, folder: str | Path) -> dict[str, str]:
    """Write a config for each row: its config, with what is overridden.

    Args:
        grid: The grid.
        folder: Folder to write to; it may have the configs of an earlier run.

    Returns:
        The config files by label.

    Raises:
        ValueError: Two labels give one file name.
    """
    stems = [re.sub(r"[^\w.-]+", "_", label).strip("_") for label in grid.rows]
    names = [f"{stem}.py" for stem in stems]
    check_unique("file name", names)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {}
    for name, (config, overrides) in zip(names, grid.rows.values(), strict=True):
        text = [f"_base_ = {str(config)!r}"]
        text += [f"{key} = {pformat(value)}" for key, value in overrides.items()]
        contents[folder / name] = ("\n".join(text) + "\n").encode()
    replace_files(contents)
    return {label: str(path) for label, path in zip(grid.rows, contents, strict=True)}


def _merge(overrides: Sequence[dict]) -> dict:
    """Nested dicts of all overrides; the later ones win."""
    merged = Config({})
    for override in overrides:
        merged.merge_from_dict(override)
    return merged.to_dict()
