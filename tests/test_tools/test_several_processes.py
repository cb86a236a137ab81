"""A whole run in one, two and three processes: the same weights and scores."""

import json
import os
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import in_processes
from PIL import Image

from capnet_mm import cli

REPOSITORY = Path(__file__).resolve().parents[2]

# 24 images an epoch, 12 a step, whatever the number of processes; 7 to be tested.
CONFIG = f"""
_base_ = [
    '{REPOSITORY}/configs/_base_/models/capnet.py',
    '{REPOSITORY}/configs/_base_/schedules/adamw_10e.py',
    '{REPOSITORY}/configs/_base_/default_runtime.py']
dataset = dict(
    type='ImageListDataset', data_root='{{{{$CAPNET_DATA_ROOT:nowhere}}}}',
    ann_file='train.txt')
pipeline = [dict(type='LoadImage'), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=12,
    num_workers=0,
    sampler=dict(type='ClassAwareSampler', epoch_divisor=1),
    dataset=dict(dataset, pipeline=pipeline))
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        dataset, ann_file='val.txt', train_ann_file='train.txt', tail_threshold=5,
        head_threshold=8, pipeline=pipeline))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='LongTailMAP', classwise=True)
model = dict(head=dict(
    classes=dataset, bias=-1., gcn=dict(learnable_gamma=True, zero_init=False),
    prompt=dict(num_context=3), text_encoder=dict(chunk_size=1)))
tta_model = dict(type='TestTimeEnsemble')
tta_pipeline = [
    dict(type='LoadImage'),
    dict(type='TestTimeAug', transforms=[
        [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1.)],
        [dict(type='PackInputs')]])]
train_cfg = dict(max_epochs=2)
custom_hooks = [
    dict(type='ClassCountsHook'), dict(type='EpochSeedHook'),
    dict(type='FiniteLossHook'), dict(type='TrainableCheckpointHook')]
"""


BLOCKS = [f"backbone.visual.transformer.resblocks.{i}" for i in range(2)]
# As docs/distributed.md has them.
VARIANTS = {
    "accumulated": [
        "optim_wrapper.accumulative_counts=2",
        "train_dataloader.batch_size=3",
    ],
    "bfloat16": ["optim_wrapper.type=BFloat16OptimWrapper"],
    "checkpointed": [f"activation_checkpointing=[{','.join(BLOCKS)}]"],
    "averaged": ["default_hooks.ema.type=EMAHook", "default_hooks.ema.momentum=0.5"],
    "fsdp": [],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A config and images of three classes, 8, 6 and 4 of them; some unknown."""
    root = tmp_path_factory.mktemp("several")
    (root / "tiny.py").write_text(CONFIG)
    fsdp = REPOSITORY / "configs" / "_base_" / "fsdp.py"
    (root / "fsdp.py").write_text(f"_base_ = ['./tiny.py', '{fsdp}']")
    random = np.random.default_rng(0)
    labels = ["0 1", "0", "0 2 ?1", "1", "0 1", "2 ?0", "0", "1 ?2", "0 2", "1", "0"]
    labels += ["0 1 2"]
    for index in range(12):
        pixels = random.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{index}.png")
    (root / "classes.txt").write_text("dog\ncat\nhot air balloon\n")
    lines = [f"{index}.png {label}\n" for index, label in enumerate(labels)]
    (root / "train.txt").write_text("".join(lines))
    (root / "val.txt").write_text("".join(lines[5:]))
    return root


def run_tool(name, *args):
    sys.argv = [name, *map(str, args)]
    runpy.run_path(str(REPOSITORY / "tools" / name), run_name="__main__")


def run_all(root, clip):
    """Train and validate, test with and without views; return the scores."""
    processes = os.environ["WORLD_SIZE"]
    cli.leave_cpu_distributed = lambda cfg: None  # there is more to do
    work_dir = Path(root, processes)
    flags = (Path(root, "tiny.py"), "--data-root", root, "--clip", clip)
    flags = (*flags, "--work-dir", work_dir, "--launcher", "pytorch")
    options = ["--cfg-options", f"train_dataloader.batch_size={12 // int(processes)}"]
    run_tool("train.py", *flags, *options)
    checkpoint, out = work_dir / "epoch_2.pth", work_dir / "views.json"
    run_tool(
        "test.py", *flags, checkpoint, "--tta", "--out", out, "--out-item", "metrics"
    )
    run_tool("test.py", *flags, checkpoint, "--out", work_dir / "once.pkl")
    torch.distributed.barrier()
    (log,) = work_dir.glob("*/vis_data/scalars.json")  # of the run that trained
    validated = json.loads(log.read_text().splitlines()[-1])
    if processes == "2":
        for name, more in VARIANTS.items():
            config = Path(root, f"{name}.py" if name == "fsdp" else "tiny.py")
            flags = (config, *flags[1:-3], Path(root, name), "--launcher", "pytorch")
            run_tool("train.py", *flags, *options, *more, f"experiment_name={name}")
    return dict(validated=validated, views=json.loads(out.read_text()))


@pytest.fixture(scope="module")
def runs(folder, tiny_clip):
    return {n: in_processes(n, __file__, str(folder), tiny_clip) for n in (1, 2, 3)}


def weights(folder, number):
    return torch.load(folder / str(number) / "epoch_2.pth")["state_dict"]


@pytest.mark.parametrize("number", [2, 3])
def test_several_processes_train_the_weights_of_one(runs, folder, number):
    """With class-aware sampling, unknown labels and a shared text branch."""
    expected, found = weights(folder, 1), weights(folder, number)
    assert found.keys() == expected.keys()
    trained = {k for k in expected if "class_counts" not in k and k in found}
    assert {"head.prompt.context", "head.logit_scale", "head.gcn.gamma"} <= trained
    for key in trained:
        torch.testing.assert_close(found[key], expected[key], rtol=0, atol=1e-5)


@pytest.mark.parametrize("number", [2, 3])
def test_scores_are_those_of_one_process_with_and_without_views(runs, number):
    (expected,) = runs[1]
    assert len(expected["views"]) == 4 + 3
    assert expected["views"].items() - expected["validated"].items()
    for of_process in runs[number]:
        assert of_process["views"] == pytest.approx(expected["views"], nan_ok=True)
        found = {name: of_process["validated"][name] for name in expected["views"]}
        once = {name: expected["validated"][name] for name in expected["views"]}
        assert found == pytest.approx(once, nan_ok=True)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_image_is_counted_twice_where_shares_are_not_equal(runs, folder, number):
    predictions = pickle.loads((folder / str(number) / "once.pkl").read_bytes())
    names = [Path(each["img_path"]).name for each in predictions]
    assert names == [f"{index}.png" for index in range(5, 12)]


def largest_difference(found, expected):
    trained = [key for key in expected if "class_counts" not in key]
    return max(float((found[key] - expected[key]).abs().max()) for key in trained)


@pytest.mark.parametrize("variant", ["checkpointed", "fsdp"])
def test_ways_to_save_memory_train_the_same_weights(runs, folder, variant):
    difference = largest_difference(weights(folder, variant), weights(folder, 2))
    assert difference < 1e-5


@pytest.mark.parametrize("variant", ["accumulated", "bfloat16"])
def test_other_steps_end_near_but_not_at_the_same_weights(runs, folder, variant):
    difference = largest_difference(weights(folder, variant), weights(folder, 2))
    assert 1e-5 < difference < 0.05


def test_a_checkpoint_of_averaged_weights_has_the_trained_ones_beside(runs, folder):
    saved = torch.load(folder / "averaged" / "epoch_2.pth")
    trained = {k.removeprefix("module."): v for k, v in saved["ema_state_dict"].items()}
    assert largest_difference(trained, weights(folder, 2)) < 1e-5
    assert largest_difference(saved["state_dict"], weights(folder, 2)) > 1e-4


if __name__ == "__main__":  # one of the processes
    result = run_all(*sys.argv[1:])
    print()
    print(json.dumps(result), flush=True)
    torch.distributed.barrier()
    os._exit(0)  # gloo's threads can abort an interpreter that shuts down
