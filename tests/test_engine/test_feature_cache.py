"""Filling a cache: only what is missing, said before, for what it depends on."""

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from PIL import Image

from capnet_mm.datasets.feature_store import FeatureStore
from capnet_mm.datasets.fixed_views import views_for_training
from capnet_mm.engine import feature_cache
from capnet_mm.engine.feature_cache import FeatureCache


@pytest.fixture
def paths(tmp_path):
    """Files of four images."""
    rng = np.random.default_rng(0)
    files = [str(tmp_path / f"{index}.png") for index in range(4)]
    for file in files:
        save(file, rng.integers(0, 256, (40, 50, 3)))
    return files


def save(file, pixels):
    Image.fromarray(pixels.astype(np.uint8)).save(file)


def make_model(clip, head=(), **backbone):
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    head = dict(classes=["dog", "cat"], prompt=None, gcn=None, **dict(head))
    config = dict(type="CLIPClassifier", clip=dict(model=clip), head=head)
    return MODELS.build(dict(config, backbone=backbone)).eval()


LOCAL = dict(pooling=dict(type="ClassPooling"))


def make_views(edges=(32, 36)):
    kinds = ("LoadImage", "PackInputs")
    return views_for_training(Compose([dict(type=kind) for kind in kinds]), edges, 32)


@pytest.fixture
def fill(tmp_path, paths):
    """Fills the cache; gives the store and the number of images computed."""

    def fill(model, views=None, said=None, paths=paths):
        said = [] if said is None else said
        cache = FeatureCache(model, str(tmp_path / "cache"), said.append)
        store = cache.fill(views or make_views(), paths, 0, skip_corrupt=False)
        done = [line for line in said if " images in " in line and line.endswith(" s.")]
        return store, int(done[0].split()[2]) if done else 0

    return fill


@pytest.mark.parametrize("vision", ["timm", "vit"])
def test_records_are_the_features_of_the_views(clips, fill, paths, vision):
    model = make_model(clips[vision], LOCAL)
    preprocess = model.data_preprocessor
    store, number = fill(model)
    assert number == 4
    views = make_views()
    for path in paths:
        pixels = torch.stack(
            [torch.from_numpy(v).movedim(2, 0) for v in views.apply(path)]
        )
        with torch.no_grad():
            (wanted,) = model.backbone(preprocess(dict(inputs=pixels))["inputs"])
        records = torch.from_numpy(np.stack([store.get(path, v) for v in range(6)]))
        found = model.data_preprocessor(dict(inputs=records))["inputs"]
        for name in ("tower", "pooled", "map"):
            expected, value = getattr(wanted, name), getattr(found, name)
            largest = float(expected.abs().max())
            torch.testing.assert_close(value, expected, atol=largest / 200, rtol=1e-3)


def test_a_prior_that_reads_places_has_them_beside_a_pooled_head(clips, fill, paths):
    model = make_model(clips["timm"], dict(prior={}))
    store, _ = fill(model)
    records = torch.from_numpy(np.stack([store.get(path, 0) for path in paths]))
    inputs = model.data_preprocessor(dict(inputs=records))["inputs"]
    assert model.head.evidence(model.extract_feat(inputs)).shape == (2, 4, 2)


def test_only_what_is_missing_is_computed(clips, fill, paths):
    model = make_model(clips["timm"])
    assert fill(model, paths=paths[:3])[1] == 3
    save(paths[0], np.full((40, 50, 3), 99))  # another image under the name
    assert fill(model)[1] == 2
    assert fill(model)[1] == 0


def test_an_interrupted_pass_goes_on_where_it_was(clips, fill, monkeypatch):
    model = make_model(clips["timm"])
    monkeypatch.setattr(feature_cache, "SHARD_BYTES", 1)
    monkeypatch.setattr(feature_cache, "_BATCH_SIZE", 6)  # an image
    add, added = FeatureStore.add, []

    def interrupted(*args):
        if len(added) == 3:
            raise KeyboardInterrupt
        added.append(add(*args))

    monkeypatch.setattr(FeatureStore, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(model)
    monkeypatch.setattr(FeatureStore, "add", add)
    assert fill(model)[1] == 1


def test_each_thing_that_features_depend_on_has_a_store_of_its_own(clips, fill):
    model = make_model(clips["timm"])
    store, _ = fill(model)
    assert fill(make_model(clips["timm"]))[1] == 0  # an equal model
    assert fill(make_model(clips["timm"]), make_views((32,)))[1] == 4

    other_weights = make_model(clips["timm"])
    next(other_weights.backbone.visual.parameters()).data[0] += 1
    other_statistics = make_model(clips["timm"])
    next(other_statistics.backbone.visual.buffers())[0] += 1
    other_mean = make_model(clips["timm"])
    other_mean.data_preprocessor.mean[0] += 1
    for other in (other_weights, other_statistics, other_mean):
        changed, number = fill(other)
        assert number == 4
        assert changed.folder != store.folder


def test_an_activation_that_has_no_weights_tells_towers_apart(clips, fill):
    assert fill(make_model(clips["vit"]))[1] == 4
    assert fill(make_model(clips["vit"], quick_gelu=True))[1] == 4


def test_a_cache_with_a_map_serves_those_who_need_none(clips, fill, paths):
    trained = make_model(
        clips["timm"], LOCAL, adapter=dict(type="ScaleShift", space="joint")
    )
    store, number = fill(trained)
    assert number == 4
    model = make_model(clips["timm"])
    again, number = fill(model)
    assert number == 0
    assert again.folder == store.folder
    records = torch.from_numpy(store.get(paths[0], 0))[None]
    inputs = model.data_preprocessor(dict(inputs=records))["inputs"]
    (pooled,) = model.backbone(inputs)
    assert pooled.shape == (1, 16)

    small, _ = fill(model, make_views((32,)))
    assert small.get(paths[0], 0).size < store.get(paths[0], 0).size / 3


def test_the_room_that_is_needed_is_said_before(clips, fill, monkeypatch, tmp_path):
    said = []
    fill(make_model(clips["timm"]), said=said)
    # 4 images x 6 views x 16 features of 2 bytes
    assert "4 images in 6 views take 0.0 MB" in said[0]

    monkeypatch.setattr(FeatureStore, "free_bytes", 767)
    with pytest.raises(OSError, match="make room, name another"):
        fill(make_model(clips["vit"]))
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 1
    monkeypatch.setattr(FeatureStore, "free_bytes", 768)
    assert fill(make_model(clips["vit"]))[1] == 4


def test_the_runs_random_numbers_stay_as_they_are(clips, fill):
    model = make_model(clips["timm"])
    torch.manual_seed(3)
    fill(model)
    found = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(found, torch.rand(4))


def test_views_of_several_sizes_are_refused(clips, fill):
    views = make_views([[dict(type="FastResizeEdge", scale=edge)] for edge in (32, 40)])
    with pytest.raises(ValueError, match="all of one size"):
        fill(make_model(clips["timm"]), views)


def test_models_whose_features_change_are_refused(clips, tmp_path):
    model = torch.nn.Module()
    model.backbone = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="is a CLIPBackbone, got Linear"):
        FeatureCache(model, str(tmp_path), print)
    sharded = make_model(clips["timm"])
    sharded.head.logit_scale._fsdp_flattened = True  # as FSDP marks its parameters
    with pytest.raises(ValueError, match="FSDP"):
        FeatureCache(sharded, str(tmp_path), print)
