"""The command line tools, on a few small images and MMPretrain's own model."""

import importlib.util
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOLS = Path(__file__).resolve().parents[2] / "tools"
_numbers = itertools.count()

CONFIG = """
custom_imports = dict(imports='capnet_mm')
default_scope = 'mmpretrain'
dataset = dict(type='ImageListDataset', data_root='{{$CAPNET_DATA_ROOT:nowhere}}')
pipeline = [dict(type='LoadImage'), dict(type='PackInputs')]
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, ann_file='train.txt', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset,
        ann_file='val.txt',
        train_ann_file='train.txt',
        test_mode=True,
        pipeline=pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='LongTailMAP')
test_evaluator = val_evaluator
model = dict(
    type='ImageClassifier',
    backbone=dict(type='MobileNetV2', widen_factor=0.1, norm_eval=True),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=3,
        in_channels=1280,
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True)))
tta_model = dict(type='TestTimeEnsemble', average='probabilities')
tta_pipeline = [
    dict(type='LoadImage'),
    dict(type='TestTimeAug', transforms=[
        [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1.)],
        [dict(type='PackInputs')]]),
]
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(visualization=dict(type='VisualizationHook', enable=False))
custom_hooks = [
    dict(type='ClassCountsHook'),
    dict(type='EpochSeedHook'),
    dict(type='FiniteLossHook'),
    dict(type='TrainableCheckpointHook'),
    dict(type='CalibrationHook'),
]
visualizer = dict(
    type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
randomness = dict(seed=0)
auto_scale_lr = dict(base_batch_size=8)
"""


@pytest.fixture(scope="session")
def config(tmp_path_factory) -> str:
    """A config file."""
    path = tmp_path_factory.mktemp("configs") / "tiny.py"
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> str:
    """Twelve images of three classes, each of which has a colour."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    lines = []
    for index in range(12):
        label = index % 3
        pixels = random.integers(0, 100, (32, 32, 3), dtype=np.uint8)
        pixels[..., label] += 120
        Image.fromarray(pixels).save(root / f"{index}.png")
        lines.append(f"{index}.png {label}")
    (root / "classes.txt").write_text("red\ngreen\nblue\n")
    (root / "train.txt").write_text("\n".join(lines))
    (root / "val.txt").write_text("\n".join(lines[:6]))
    return str(root)


@pytest.fixture
def run_tool(monkeypatch):
    """Runs a tool with a command line, in this process."""

    def run(name, *args, options=()):
        spec = importlib.util.spec_from_file_location(f"tool_{name}", TOOLS / name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        # MMEngine shares the message hub between runs of one name in one process.
        options = [*options, f"experiment_name=run{next(_numbers)}"]
        command = [name, *map(str, args), "--cfg-options", *options]
        monkeypatch.setattr(sys, "argv", command)
        # What the flags set must not reach the next test.
        for variable in ("DATA_ROOT", "CLIP", "CLIP_PRETRAINED"):
            monkeypatch.setenv(f"CAPNET_{variable}", "")
            monkeypatch.delenv(f"CAPNET_{variable}")
        module.main()

    return run
