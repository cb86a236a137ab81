"""The synthetic data set: its words, its pictures, its long tail."""

import errno
import itertools
import json
import os
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from capnet_mm.datasets import ShapesLT
from capnet_mm.datasets.shapes import (
    CLASS_KINDS,
    CLASS_NAMES,
    COLORS,
    KINDS,
    SHAPES,
    TEXTURES,
    Kind,
    draw_scene,
    fade,
)
from capnet_mm.datasets.shapes.scenes import evaluation_scenes, training_scenes


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "shapes_lt"
    ShapesLT(str(root))
    return root


def test_classes_share_every_word_evenly():
    assert len(set(KINDS)) == 256
    assert set(CLASS_KINDS) <= set(KINDS)
    words = Counter(word for name in CLASS_NAMES for word in name.split())
    assert {words[texture] for texture in TEXTURES} == {6}
    assert {words[word] for word in (*COLORS, *SHAPES)} == {3}


def test_colour_texture_and_shape_are_what_the_name_says():
    """Looked at in the middle of the object: mean colour, and how uneven it is."""

    def patch(name, seed):
        picture = draw_scene([Kind(*name.split())], np.random.default_rng(seed))
        saturation = picture.max(2).astype(int) - picture.min(2)
        return picture[saturation > 110]

    for seed in range(5):
        red, blue = (patch(f"plain {c} square", seed).mean(0) for c in ("red", "blue"))
        assert red[0] > 2 * max(red[1:]) and blue[2] > 1.3 * max(blue[:2])
        plain = patch("plain red circle", seed).std(0).max()
        assert patch("striped red circle", seed).std(0).max() > plain
        full = len(patch("plain red circle", seed))
        assert 0.5 * full < len(patch("plain red ring", seed)) < full


def test_fading_warms_and_mixes_but_keeps_pictures_apart():
    colors = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    faded = fade(colors)
    assert faded.dtype == np.uint8 and faded.shape == colors.shape
    grey = fade(np.full((1, 1, 3), 128, dtype=np.uint8))[0, 0]
    assert grey[0] > grey[1] > grey[2]
    assert np.linalg.matrix_rank(faded[0].astype(float)) == 3


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
        """Of all pairs of classes in one picture, how many are companions."""
        pairs = [p for s in scenes for p in itertools.combinations(s.labels, 2)]
        return np.mean(
            [{(b - a) % 24, (a - b) % 24} & {1, 5, 11} != set() for a, b in pairs]
        )

    assert share(training_scenes(np.random.default_rng(2))) > 0.5
    assert share(evaluation_scenes(np.random.default_rng(2))) < 0.35  # 6 of 23


def test_dataset_knows_its_long_tail(data_root):
    train = ShapesLT(str(data_root))
    test = ShapesLT(str(data_root), test_mode=True)
    assert train.metainfo["class_counts"][0] == 400
    assert test.metainfo["class_counts"] == train.metainfo["class_counts"]
    assert [len(g) for g in train.metainfo["groups"].values()] == [7, 8, 9]
    picture = np.asarray(Image.open(test.get_data_info(0)["img_path"]))
    assert picture.shape == (96, 96, 3) and picture.std() > 5
    # What the docstring and docs/results.md say.
    assert (len(train), len(test)) == (1024, 962)


def test_pictures_are_drawn_once_and_always_the_same(data_root, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in data_root.rglob("*")}
    ShapesLT(str(data_root))
    assert {p: p.stat().st_mtime_ns for p in data_root.rglob("*")} == before
    other = tmp_path / "again"
    ShapesLT(str(other))
    for path in ("shapes_lt_train.txt", "train/0005.png", "test/0007.png"):
        assert (other / path).read_bytes() == (data_root / path).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again"]


def test_train_and_test_pictures_differ(data_root):
    pictures = [p.read_bytes() for p in data_root.glob("*/*.png")]
    assert len(set(pictures)) == len(pictures)


def test_another_data_set_is_left_alone(tmp_path):
    (tmp_path / "train.txt").write_text("a.jpg 0")
    with pytest.raises(ValueError, match="something else than ShapesLT"):
        ShapesLT(str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["train.txt"]


def test_pictures_of_another_version_are_refused(tmp_path):
    (tmp_path / "shapes_lt.json").write_text(json.dumps(dict(version=0)))
    with pytest.raises(ValueError, match="another version .* delete it"):
        ShapesLT(str(tmp_path))


def test_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def save(self, path):
        if path.name == "0003.png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path.write_bytes(b"")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="No space left.*35 MB"):
        ShapesLT(str(tmp_path / "shapes_lt"))
    assert list(tmp_path.iterdir()) == []
