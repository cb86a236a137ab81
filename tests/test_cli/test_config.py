"""The config that flags make."""

import argparse
import os

import pytest
import torch
from mmengine.config import Config

from capnet_mm import cli


@pytest.fixture
def read(monkeypatch):
    def read(*command):
        for name in ("CAPNET_DATA_ROOT", "CAPNET_CLIP", "CAPNET_CLIP_PRETRAINED"):
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        parser = argparse.ArgumentParser()
        cli.add_common_arguments(parser)
        return cli.read_config(parser.parse_args(command))

    return read


@pytest.fixture
def write(tmp_path):
    def write(text, name="some_config.py"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def loaders(**kwargs):
    names = ("train_dataloader", "val_dataloader", "test_dataloader")
    return Config({name: dict(kwargs) for name in names})


def test_data_and_clip_are_set_from_the_command_line(read, write):
    config = write(
        "root = '{{$CAPNET_DATA_ROOT:a}}'\n"
        "clip = '{{$CAPNET_CLIP:b}}'\n"
        "pretrained = '{{$CAPNET_CLIP_PRETRAINED:c}}'\n"
    )
    cfg = read(config)
    assert (cfg.root, cfg.clip, cfg.pretrained) == ("a", "b", "c")
    flags = (
        "--data-root",
        "/my data",
        "--clip",
        "local-dir:/clip",
        "--pretrained",
        "x",
    )
    cfg = read(config, *flags)
    assert (cfg.root, cfg.clip) == ("/my data", "local-dir:/clip")
    assert cfg.pretrained == "x"


def test_work_dir_is_that_of_the_flag_else_of_the_config_else_its_name(read, write):
    own = write("work_dir = 'own'", "own.py")
    assert read(own, "--work-dir", "flag").work_dir == "flag"
    assert read(own).work_dir == "own"
    expected = os.path.join("work_dirs", "some_config")
    assert read(write("x = 1")).work_dir == expected


def test_options_override_parts_of_the_config(read, write):
    config = write("train_cfg = dict(max_epochs=3, by_epoch=True)")
    cfg = read(config, "--cfg-options", "train_cfg.max_epochs=5", "extra=[1,2]")
    assert cfg.train_cfg == dict(max_epochs=5, by_epoch=True)
    assert cfg.extra == [1, 2]


@pytest.mark.parametrize("cuda", [True, False])
def test_memory_is_pinned_with_cuda_only(monkeypatch, cuda):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    cfg = loaders(num_workers=2)
    cli.complete_dataloaders(cfg)
    assert cfg.train_dataloader.pin_memory is cfg.test_dataloader.pin_memory is cuda
    cfg = loaders(num_workers=2, pin_memory=True)
    cli.complete_dataloaders(cfg)
    assert cfg.train_dataloader.pin_memory is True
    cli.complete_dataloaders(cfg, no_pin_memory=True)
    assert cfg.train_dataloader.pin_memory is False


def test_workers_persist_except_in_training_where_none_are_or_when_told_not_to():
    cfg = loaders(num_workers=2)
    cli.complete_dataloaders(cfg)
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.val_dataloader.persistent_workers is True
    cli.complete_dataloaders(cfg, no_persistent_workers=True)
    assert cfg.val_dataloader.persistent_workers is False

    cfg = loaders(num_workers=2, persistent_workers=True)
    cli.complete_dataloaders(cfg)
    assert cfg.train_dataloader.persistent_workers is True
    cfg = loaders(num_workers=0, persistent_workers=True)
    cli.complete_dataloaders(cfg)
    assert cfg.train_dataloader.persistent_workers is False


def test_a_config_without_validation_has_no_validation_loader():
    cfg = Config(dict(train_dataloader=dict(num_workers=0), val_dataloader=None))
    cli.complete_dataloaders(cfg)
    assert cfg.val_dataloader is None
    assert cfg.train_dataloader.collate_fn == dict(type="default_collate")


def test_amp_without_accelerator_is_refused(monkeypatch):
    from capnet_mm.cli import config

    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type="SGD"))))
    monkeypatch.setattr(config, "get_device", lambda: "cpu")
    with pytest.raises(ValueError, match="--amp needs an accelerator"):
        cli.apply_amp(cfg)
    monkeypatch.setattr(config, "get_device", lambda: "cuda")
    cli.apply_amp(cfg)
    assert cfg.optim_wrapper.type == "AmpOptimWrapper"
    assert cfg.optim_wrapper.loss_scale == "dynamic"


def test_tta_without_a_description_in_the_config_is_refused():
    with pytest.raises(ValueError, match="needs tta_model and tta_pipeline"):
        cli.apply_tta(Config(dict(model=dict())))


def test_tta_wraps_the_model_and_changes_the_innermost_pipeline():
    cfg = Config(
        dict(
            model=dict(type="Model"),
            tta_model=dict(type="Ensemble"),
            tta_pipeline=[dict(type="Views")],
            test_dataloader=dict(
                dataset=dict(type="RepeatDataset", dataset=dict(type="D", pipeline=[]))
            ),
        )
    )
    cli.apply_tta(cfg)
    assert cfg.model == dict(type="Ensemble", module=dict(type="Model"))
    assert cfg.test_dataloader.dataset.dataset.pipeline == [dict(type="Views")]
    cli.complete_dataloaders(cfg)
    assert cfg.test_dataloader.collate_fn == dict(type="pseudo_collate")
    cfg.test_dataloader.collate_fn = dict(type="default_collate")
    cli.apply_tta(cfg)
    assert cfg.test_dataloader.collate_fn == dict(type="default_collate")


def test_drawing_needs_a_hook_and_switches_it_on():
    cfg = Config(dict(default_hooks=dict(visualization=dict(type="V", enable=False))))
    cli.apply_visualization(cfg, False, None, 1, 2.0)
    assert cfg.default_hooks.visualization.enable is False
    cli.apply_visualization(cfg, False, "drawn", 5, 2.0)
    hook = cfg.default_hooks.visualization
    assert (hook.enable, hook.out_dir, hook.interval) == (True, "drawn", 5)
    with pytest.raises(ValueError, match="VisualizationHook"):
        cli.apply_visualization(Config(dict()), True, None, 1, 2.0)


def test_resuming_takes_the_given_checkpoint_else_the_latest(tmp_path):
    checkpoint = tmp_path / "epoch_1.pth"
    torch.save(dict(state_dict={}), checkpoint)
    cfg = Config(dict(work_dir=str(tmp_path), load_from="pretrained.pth"))
    cli.apply_resume(cfg, str(checkpoint))
    assert cfg.resume is True
    assert cfg.load_from == str(checkpoint)
    cli.apply_resume(cfg, "auto")
    assert cfg.resume is True
    assert cfg.load_from is None


def test_caching_features_needs_no_word_in_the_config():
    cfg = Config(dict(custom_hooks=[dict(type="Other")]))
    cli.apply_feature_cache(cfg, None, None)
    assert cfg.custom_hooks == [dict(type="Other")]
    cli.apply_feature_cache(cfg, "features", None)
    hook = dict(type="FeatureCacheHook", cache_dir="features")
    assert cfg.custom_hooks == [dict(type="Other"), hook]


def test_flags_complete_the_feature_cache_of_the_config():
    hook = dict(type="FeatureCacheHook", cache_dir=None, crop_size=64)
    cfg = Config(dict(custom_hooks=[hook]))
    with pytest.raises(ValueError, match="--cache-views needs --cache-features"):
        cli.apply_feature_cache(cfg, None, [64, 72])
    cli.apply_feature_cache(cfg, "features", [64, 72])
    assert cfg.custom_hooks == [dict(hook, cache_dir="features", views=[64, 72])]
