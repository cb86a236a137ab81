"""Whoever loads a checkpoint learns that it belongs to another CLIP."""

import pytest
import torch
from conftest import write_clip
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_checkpoint, load_state_dict
from mmpretrain.apis import get_model
from mmpretrain.registry import MODELS
from torch import nn

from capnet_mm.models.identity import LoadsFrozenWeights, frozen_keys

init_default_scope("mmpretrain")


def config_of(clip):
    return dict(
        type="CLIPClassifier",
        clip=dict(model=clip),
        backbone=dict(adapter=dict(type="AdaptFormer", bottleneck_dim=2)),
        head=dict(classes=["dog", "cat"], prompt=dict(num_context=2)),
    )


@pytest.fixture(scope="module")
def other_clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("other"), "vit", seed=1)


def trained_only(model):
    """What TrainableCheckpointHook saves."""
    state = model.state_dict()
    for name, module in model.named_modules():
        if isinstance(module, LoadsFrozenWeights):
            for key in module.spared_keys(state, f"{name}."):
                del state[f"{name}.{key}"]
    return state


@pytest.fixture
def checkpoint(tiny_clip, tmp_path):
    torch.manual_seed(0)
    model = MODELS.build(config_of(tiny_clip)).eval()
    model.head.prompt.context.data.normal_()
    model.head.loss_module.set_class_counts([1, 2], 3)
    path = str(tmp_path / "trained.pth")
    state = trained_only(model)
    assert not [key for key in state if key.endswith("in_proj_weight")]
    torch.save(dict(state_dict=state, meta={}), path)
    return path, model


def by_runner(config, path):
    model = MODELS.build(config)
    load_checkpoint(model, path, map_location="cpu")
    return model


def by_get_model(config, path):
    return get_model(Config(dict(model=config)), pretrained=path, device="cpu")


def by_pytorch(config, path):
    model = MODELS.build(config)
    model.load_state_dict(torch.load(path)["state_dict"], strict=True)
    return model


def by_mmengine_strictly(config, path):
    model = MODELS.build(config)
    load_state_dict(model, torch.load(path)["state_dict"], strict=True)
    return model


LOADERS = [by_runner, by_get_model, by_pytorch, by_mmengine_strictly]


@pytest.mark.parametrize("load", LOADERS)
def test_trained_weights_load_beside_their_clip_without_complaint(
    load, checkpoint, tiny_clip, capsys
):
    path, model = checkpoint
    capsys.readouterr()
    loaded = load(config_of(tiny_clip), path).eval()
    assert "missing keys" not in capsys.readouterr().out
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=0)


@pytest.mark.parametrize("load", LOADERS)
def test_another_clip_of_the_same_shape_is_refused(load, checkpoint, other_clip):
    path, _ = checkpoint
    with pytest.raises(ValueError, match="frozen weights are not those of this model"):
        load(config_of(other_clip), path)


def test_whole_weights_of_another_clip_are_refused_for_the_text_branch(
    checkpoint, other_clip
):
    """Prompts and label graph were made of the text tower that would be overwritten."""
    _, model = checkpoint
    other = MODELS.build(config_of(other_clip)).eval()
    state = {k: v for k, v in model.state_dict().items() if "_extra_state" not in k}
    with pytest.raises(ValueError, match="another text tower than that of local-dir:"):
        other.load_state_dict(state)


def test_whole_weights_of_another_image_tower_are_taken_and_saved(
    checkpoint, other_clip
):
    _, model = checkpoint
    other = MODELS.build(config_of(other_clip)).eval()
    other.backbone.load_state_dict(model.backbone.state_dict())
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.backbone(images)[0]
        torch.testing.assert_close(other.backbone(images)[0], expected)
    # What was exchanged is no longer what construction gives.
    spared = other.backbone.spared_keys(other.backbone.state_dict())
    assert not spared & {"visual.proj", "visual.conv1.weight"}


def test_a_trained_weight_that_is_missing_is_named(checkpoint, tiny_clip):
    path, _ = checkpoint
    state = torch.load(path)["state_dict"]
    del state["head.prompt.context"]
    with pytest.raises(RuntimeError, match=r'Missing key.*: "head.prompt.context"\.'):
        MODELS.build(config_of(tiny_clip)).load_state_dict(state)


def test_weights_of_sources_that_say_nothing_load(checkpoint, tiny_clip):
    path, _ = checkpoint
    state = torch.load(path)["state_dict"]
    state = {key: v for key, v in state.items() if not key.endswith("_extra_state")}
    MODELS.build(config_of(tiny_clip)).load_state_dict(state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_state_dict_of_which_every_tensor_was_converted_loads(
    checkpoint, tiny_clip, other_clip, dtype
):
    path, _ = checkpoint
    state = {k: v.to(dtype) for k, v in torch.load(path)["state_dict"].items()}
    MODELS.build(config_of(tiny_clip)).load_state_dict(state)
    with pytest.raises(ValueError, match="frozen weights are not those of this model"):
        MODELS.build(config_of(other_clip)).load_state_dict(state)


class Tower(LoadsFrozenWeights, nn.Linear):
    pass


def make_tower(seed):
    torch.manual_seed(seed)
    tower = Tower(3, 2).requires_grad_(False)
    tower.remember_frozen_weights("a tower")
    return tower


def test_a_half_precision_copy_of_the_same_weights_is_taken():
    state = trained_only(nn.Sequential(make_tower(0)))
    assert list(state) == ["0._extra_state"]
    nn.Sequential(make_tower(0)).half().load_state_dict(state)
    with pytest.raises(ValueError, match="those 2 frozen weights"):
        nn.Sequential(make_tower(1)).half().load_state_dict(state)


def test_frozen_keys_name_parameters_and_buffers_of_frozen_modules():
    model = nn.Sequential(nn.BatchNorm1d(2).requires_grad_(False), nn.BatchNorm1d(2))
    buffers = {"running_mean", "running_var", "num_batches_tracked"}
    assert frozen_keys(model) == {f"0.{k}" for k in buffers | {"weight", "bias"}}
