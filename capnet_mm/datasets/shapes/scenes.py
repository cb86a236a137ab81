"""What the images of ShapesLT show: a long tail with label co-occurrence."""

from typing import NamedTuple

import numpy as np

from .vocabulary import CLASS_KINDS, KINDS, Kind

HIGHEST_COUNT = 400  # training images of the most frequent class
LOWEST_COUNT = 3
TEST_COUNT = 80  # test images of every class

_NUM_CLASSES = len(CLASS_KINDS)
_DISTRACTORS = [kind for kind in KINDS if kind not in CLASS_KINDS]


class Scene(NamedTuple):
    """What one image shows.

    Attributes:
        labels (tuple[int, ...]): Classes, sorted.
        kinds (tuple[Kind, ...]): Objects from back to front, among them some of no
            class.
    """

    labels: tuple[int, ...]
    kinds: tuple[Kind, ...]


def train_counts() -> np.ndarray:
    """Training images of each class: geometric from 400 down to 3, (24,)."""
    return np.geomspace(HIGHEST_COUNT, LOWEST_COUNT, _NUM_CLASSES).round().astype(int)


def training_scenes(rng: np.random.Generator) -> list[Scene]:
    """Scenes with exactly :func:`train_counts` images a class.

    Each class has three companions, beside which it is seen more often than chance.

    Args:
        rng: Source of all that is random.

    Returns:
        The scenes.
    """
    shifts = np.array([1, 5, 11])
    companions = (np.arange(_NUM_CLASSES)[:, None] + shifts) % _NUM_CLASSES
    return _scenes(train_counts(), rng, companions)


def evaluation_scenes(rng: np.random.Generator) -> list[Scene]:
    """Scenes with 80 images of every class, which come together by chance.

    Args:
        rng: Source of all that is random.

    Returns:
        The scenes.
    """
    return _scenes(np.full(_NUM_CLASSES, TEST_COUNT), rng)


def _scenes(
    counts: np.ndarray, rng: np.random.Generator, companions: np.ndarray | None = None
) -> list[Scene]:
    """Deal out labels, one to three an image, until each class has its count."""
    left = counts.copy()
    scenes = []
    while left.any():
        labels: list[int] = []
        for _ in range(rng.integers(1, 4)):
            weights = left.astype(float)
            weights[labels] = 0
            if labels and companions is not None and rng.random() < 0.7:
                usual = np.zeros(_NUM_CLASSES)
                usual[companions[labels[0]]] = 1
                weights = weights * usual if (weights * usual).any() else weights
            if not weights.any():
                break
            label = int(rng.choice(_NUM_CLASSES, p=weights / weights.sum()))
            labels.append(label)
            left[label] -= 1
        scenes.append(_with_distractors(labels, rng))
    return scenes


def _with_distractors(labels: list[int], rng: np.random.Generator) -> Scene:
    """Add up to two objects of no class, which share words with classes."""
    others = rng.choice(len(_DISTRACTORS), rng.integers(0, 3), replace=False)
    kinds = [CLASS_KINDS[i] for i in labels] + [_DISTRACTORS[i] for i in others]
    order = rng.permutation(len(kinds))
    return Scene(tuple(sorted(labels)), tuple(kinds[i] for i in order))
