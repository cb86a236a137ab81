"""The scores of a test in one small file."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmpretrain.registry import METRICS

from capnet_mm.fileio import replace_files

from .frequency_groups import group_of
from .long_tail_map import LongTailMAP


class Scores(NamedTuple):
    """What a model said of N test images and C classes.

    Attributes:
        scores: (N, C) float32, of which only the order within a class counts.
        targets: (N, C) int8, 1 positive, 0 negative, -1 unknown.
        classes: (C,) names.
        groups: (C,) group of each class; '' where it is not known.
    """

    scores: np.ndarray
    targets: np.ndarray
    classes: np.ndarray
    groups: np.ndarray


@METRICS.register_module()
class ScoreFile(LongTailMAP):
    """Writes scores and labels of all test images, for comparisons image by image.

    Args:
        path (str): The ``.npz`` file; see :func:`read_scores`.
        **kwargs: Those of :class:`LongTailMAP`.

    Examples:
        >>> test_evaluator = [
        ...     dict(type='LongTailMAP'), dict(type='ScoreFile', path='scores.npz')]
    """

    def __init__(self, path: str, **kwargs) -> None:
        super().__init__(**kwargs)
        self.path = path

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Write the file; there is nothing to report."""
        meta = self.dataset_meta or {}
        scores = torch.stack([result["scores"] for result in results]).numpy()
        group = group_of(meta.get("groups") or {})
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            scores=scores,
            targets=torch.stack([result["targets"] for result in results]).numpy(),
            classes=np.array(meta.get("classes") or [""] * scores.shape[1], str),
            groups=np.array([group.get(i, "") for i in range(scores.shape[1])], str),
        )
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        replace_files({Path(self.path): buffer.getvalue()})
        return {}


def read_scores(path: str | Path) -> Scores:
    """Read a file of :class:`ScoreFile`."""
    with np.load(path, allow_pickle=False) as content:
        return Scores(*(content[name] for name in Scores._fields))
