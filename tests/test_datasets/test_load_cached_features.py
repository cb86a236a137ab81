"""Reading an image's features in a pipeline."""

import numpy as np
import pytest

from capnet_mm.datasets import CorruptImageError, LoadCachedFeatures
from capnet_mm.datasets.feature_store import FeatureStore


@pytest.fixture
def filled(tmp_path):
    """A store of three views of one image, and the image's path."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"pixels")
    store = FeatureStore(tmp_path, "key")
    store.folder.mkdir()
    (image,) = store.missing([str(path)])
    store.add([image], np.arange(6, dtype=np.uint8).reshape(1, 3, 2))
    return str(store.folder), str(path)


def test_one_of_the_views_is_drawn_each_time(filled):
    folder, path = filled
    load = LoadCachedFeatures(folder, views=range(3))
    np.random.seed(0)
    drawn = [tuple(load(dict(img_path=path))["img"]) for _ in range(60)]
    assert set(drawn) == {(0, 1), (2, 3), (4, 5)}
    assert min(map(drawn.count, set(drawn))) > 10
    np.random.seed(0)
    assert drawn == [tuple(load(dict(img_path=path))["img"]) for _ in range(60)]


def test_a_view_is_read_and_all_else_stays(filled):
    folder, path = filled
    results = dict(img_path=path, gt_label=[3])
    found = LoadCachedFeatures(folder, views=[1])(results)
    assert found.pop("img").tolist() == [2, 3]
    assert found == dict(img_path=path, gt_label=[3])


def test_an_image_without_features_counts_as_corrupt(filled):
    load = LoadCachedFeatures(filled[0], views=[1])
    with pytest.raises(CorruptImageError, match="b.jpg is not in the feature cache"):
        load(dict(img_path="b.jpg"))
    assert repr(load) == f"LoadCachedFeatures(folder={filled[0]!r}, views=(1,))"
