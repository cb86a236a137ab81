"""What the drawn images show."""

import itertools
from collections import Counter

import numpy as np

from capnet_mm.datasets.shapes import (
    CLASS_KINDS,
)
from capnet_mm.datasets.shapes.scenes import evaluation_scenes, training_scenes


def test_train_counts_fall_geometrically_and_test_counts_are_equal():
    train = training_scenes(np.random.default_rng(0))
    counts = Counter(label for scene in train for label in scene.labels)
    ratio = (3 / 400) ** (1 / 23)
    assert [counts[c] for c in range(24)] == [round(400 * ratio**c) for c in range(24)]
    test = evaluation_scenes(np.random.default_rng(0))
    counts = Counter(label for scene in test for label in scene.labels)
    assert counts == dict.fromkeys(range(24), 80)


def test_labels_are_the_classes_among_the_objects():
    scenes = training_scenes(np.random.default_rng(1))
    for scene in scenes:
        shown = {CLASS_KINDS.index(k) for k in scene.kinds if k in CLASS_KINDS}
        assert tuple(sorted(shown)) == scene.labels
        assert 1 <= len(scene.labels) <= 3
        assert len(scene.kinds) == len(set(scene.kinds)) <= 5
    assert any(len(scene.kinds) > len(scene.labels) for scene in scenes)


def test_classes_keep_company_in_training_only():
    def share(scenes):
        """Of all pairs of classes in one image, how many are companions."""
        pairs = [p for s in scenes for p in itertools.combinations(s.labels, 2)]
        return np.mean(
            [{(b - a) % 24, (a - b) % 24} & {1, 5, 11} != set() for a, b in pairs]
        )

    assert share(training_scenes(np.random.default_rng(2))) > 0.5
    assert share(evaluation_scenes(np.random.default_rng(2))) < 0.35  # 6 of 23
