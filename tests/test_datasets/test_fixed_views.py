"""The fixed views of a pipeline have the pixels that the pipeline itself gives."""

import numpy as np
import pytest
from conftest import REPOSITORY
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image

from capnet_mm.datasets import FastResizeEdge, FixedCrop, LoadImage
from capnet_mm.datasets.fixed_views import views_for_testing, views_for_training

LOAD = dict(type="LoadImage")
RANDOM = dict(type="FastRandomResizedCrop", scale=24)
PACK = dict(type="PackInputs")
CROPS = [
    dict(type="FixedCrop", crop_size=24, position=p) for p in ("center", "top_left")
]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope("mmpretrain")


@pytest.fixture
def path(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def by_hand(path, edge, position):
    results = LoadImage()(dict(img_path=path))
    return FixedCrop(24, position)(FastResizeEdge(edge)(results))["img"]


def test_training_views_are_one_centre_and_five_crops(path):
    views = views_for_training(Compose([LOAD, RANDOM, PACK]), (24, 32), 24)
    expected = [by_hand(path, 24, "center")]
    corners = "top_left", "top_right", "bottom_left", "bottom_right"
    expected += [by_hand(path, 32, position) for position in (*corners, "center")]
    pixels = views.apply(path)
    assert len(pixels) == 6
    for found, wanted in zip(pixels, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_views_of_ones_own_follow_the_loader(path):
    own = [dict(type="FastResizeEdge", scale=30), CROPS[1]]
    views = views_for_training(Compose([LOAD, RANDOM, PACK]), [own], 24)
    np.testing.assert_array_equal(views.apply(path)[0], by_hand(path, 30, "top_left"))


def test_test_views_have_the_pixels_of_the_pipeline(path):
    resize = dict(type="FastResizeEdge", scale=30)
    plain = Compose([LOAD, resize, CROPS[0], PACK])
    together = Compose(
        [LOAD, resize, dict(type="TestTimeAug", transforms=[list(CROPS), [PACK]])]
    )
    for pipeline, number in ((plain, 1), (together, 2)):
        inputs = pipeline(dict(img_path=path))["inputs"]
        inputs = inputs if isinstance(inputs, list) else [inputs]
        pixels = views_for_testing(pipeline).apply(path)
        assert len(pixels) == len(inputs) == number
        for found, wanted in zip(pixels, inputs, strict=True):
            np.testing.assert_array_equal(found, wanted.permute(1, 2, 0))


def test_the_fast_recipe_is_tested_on_views_that_it_is_trained_on():
    cfg = Config.fromfile(REPOSITORY / "configs" / "capnet_fast_custom.py")
    (hook,) = (each for each in cfg.custom_hooks if each.type == "FeatureCacheHook")
    trained = views_for_training(Compose(cfg.train_pipeline), hook.views, 224)
    tested = views_for_testing(Compose(cfg.tta_pipeline)).describe()
    known = {tuple(each) for each in trained.describe()}
    assert len(tested) == 10
    assert {tuple(each) for each in tested} < known


def test_an_image_is_decoded_once_for_all_views(path, monkeypatch):
    decoded = []
    decode = LoadImage.transform
    monkeypatch.setattr(
        LoadImage, "transform", lambda *args: decoded.append(1) or decode(*args)
    )
    views_for_training(Compose([LOAD, RANDOM, PACK]), (24, 32, 40), 24).apply(path)
    assert len(decoded) == 1


def test_what_the_pixels_depend_on_is_told_apart():
    def describe(load=LOAD, edges=(24, 32)):
        return views_for_training(Compose([load, RANDOM, PACK]), edges, 24).describe()

    assert describe() == describe()
    assert describe() != describe(edges=(24, 33))
    assert describe() != describe(load=dict(LOAD, min_edge=48))


@pytest.mark.parametrize(
    "pipeline", [[RANDOM, PACK], [LOAD, RANDOM], [LOAD, RANDOM, CROPS[0]]]
)
def test_a_pipeline_without_loading_or_packing_is_refused(pipeline):
    for plan in (views_for_testing, lambda p: views_for_training(p, (24,), 24)):
        with pytest.raises(ValueError, match="loads an image from a file first"):
            plan(Compose(pipeline))


def test_views_that_cannot_be_are_refused():
    pipeline = Compose([LOAD, RANDOM, PACK])
    with pytest.raises(ValueError, match="smaller than the crop of 24"):
        views_for_training(pipeline, (20,), 24)
    with pytest.raises(ValueError, match="are none"):
        views_for_training(pipeline, (), 24)
    with pytest.raises(ValueError, match="FastRandomResizedCrop, of which"):
        views_for_testing(pipeline)
