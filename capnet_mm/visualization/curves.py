"""How a training went, from the numbers that MMEngine wrote."""

import json
from dataclasses import dataclass
from pathlib import Path

# Steps and the values there.
Series = tuple[list[float], list[float]]

# What MMEngine writes beside the scores of a validation.
_NO_SCORES = ("data_time", "time", "step", "epoch", "iter")


@dataclass(frozen=True)
class Curves:
    """Numbers over the course of a training.

    Attributes:
        losses: Losses by name, over iterations.
        learning_rates: Learning rates by name, over iterations.
        scores: Results of validation by name, over epochs or iterations.
        score_unit: Unit of the scores' steps, 'epoch' or 'iteration'.
    """

    losses: dict[str, Series]
    learning_rates: dict[str, Series]
    scores: dict[str, Series]
    score_unit: str = "epoch"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not (self.losses or self.scores)


def read_curves(work_dir: str | Path) -> Curves:
    """Read what all runs of a training wrote.

    A training that was interrupted and resumed, maybe several times, left one
    ``<start time>/vis_data/scalars.json`` for every run. Where runs overlap the
    later one counts: what it did again replaces what was lost.

    Args:
        work_dir: The work dir of the training.

    Returns:
        The curves; empty ones if nothing was written.
    """
    train: list[dict] = []
    validation: list[dict] = []  # with the iteration they came after
    for path in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        train_rows, validation_rows = _split_rows(_read_rows(path))
        if train_rows:
            start = train_rows[0]["step"]
            train = [row for row in train if row["step"] < start]
            validation = [row for row in validation if row["after"] < start]
        train += train_rows
        validation += validation_rows

    by_epoch = any("epoch" in row for row in train)
    for row in validation:
        row["step"] = row["step"] if by_epoch else row["after"]
    train_names = sorted({name for row in train for name in row})
    score_names = [name for row in validation for name in row if _is_score(name)]
    return Curves(
        losses=_series(train, [name for name in train_names if "loss" in name]),
        learning_rates=_series(
            train, [n for n in train_names if n == "lr" or n.endswith(".lr")]
        ),
        scores=_series(validation, list(dict.fromkeys(score_names))),
        score_unit="epoch" if by_epoch else "iteration",
    )


def _read_rows(path: Path) -> list[dict]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # cut off when its run was killed
    return [row for row in rows if isinstance(row, dict) and "step" in row]


def _split_rows(rows: list[dict]) -> tuple[list[dict], list[dict]]:
    """Rows of training, and rows of the validations between them."""
    train: list[dict] = []
    validation: list[dict] = []
    for row in rows:
        if any("loss" in name for name in row):
            train.append(row)
        elif train:  # else a mere validation, no part of a training
            validation.append({**row, "after": train[-1]["step"]})
    return train, validation


def _is_score(name: str) -> bool:
    # AP/<class> of single classes would be too many curves.
    return name not in (*_NO_SCORES, "after") and "/AP/" not in name


def _series(rows: list[dict], names: list[str]) -> dict[str, Series]:
    series = {}
    for name in names:
        points = [
            (row["step"], row[name])
            for row in rows
            if isinstance(row.get(name), int | float)
        ]
        if points:
            steps, values = zip(*points, strict=True)
            series[name] = (list(steps), list(values))
    return series
