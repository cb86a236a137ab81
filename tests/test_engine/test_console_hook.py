"""ConsoleHook: lines of progress, the class table, the report."""

import re

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook

import capnet_mm.engine.hooks.console_hook as module
from capnet_mm.engine import ConsoleHook
from capnet_mm.engine.hooks.console_hook import class_table


class LossHook(Hook):
    """Keeps the losses."""

    def __init__(self):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs["loss"].item())


def summary(output):
    """What was printed beside MMEngine's log."""
    return [line for line in output.splitlines() if "mmengine" not in line]


def losses(lines):
    return [float(re.search(r"loss (\S+)", line)[1]) for line in lines]


def test_each_epoch_has_one_line_with_its_mean_loss(make_runner, capsys):
    kept = LossHook()
    make_runner([kept, ConsoleHook()], epochs=3).train()
    lines = [x for x in summary(capsys.readouterr().out) if x.startswith("epoch")]
    assert [line.split("  ")[0] for line in lines] == [
        f"epoch {i}/3" for i in (1, 2, 3)
    ]
    means = np.reshape(kept.losses, (3, 3)).mean(axis=1)
    assert losses(lines) == pytest.approx(means, rel=1e-3)


def test_scores_stand_in_the_line_of_the_epoch_they_follow(make_runner, capsys):
    runner = make_runner([ConsoleHook()], epochs=3, validate=True)
    runner._train_loop["val_interval"] = 2
    runner.train()
    lines = [x for x in summary(capsys.readouterr().out) if x.startswith("epoch")]
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    assert ["count 12.00" in line for line in lines] == [False, True, True]


def test_training_by_iterations_has_a_line_a_validation(make_runner, capsys):
    kept = LossHook()
    runner = make_runner([kept, ConsoleHook()], validate=True)
    runner._train_loop = dict(by_epoch=False, max_iters=7, val_interval=3)
    runner.train()
    out = summary(capsys.readouterr().out)
    lines = [line for line in out if line.startswith("iteration")]
    assert [line.split("  ")[0] for line in lines] == [
        "iteration 3/7",
        "iteration 6/7",
        "iteration 7/7",
    ]
    parts = (kept.losses[:3], kept.losses[3:6], kept.losses[6:])
    assert losses(lines) == pytest.approx([np.mean(p) for p in parts], rel=1e-3)


def test_a_resumed_training_tells_of_its_own_epochs(make_runner, capsys):
    make_runner([], epochs=1).train()
    capsys.readouterr()
    kept = LossHook()
    make_runner([kept, ConsoleHook()], epochs=2, resume=True).train()
    lines = [x for x in summary(capsys.readouterr().out) if x.startswith("epoch")]
    assert [line.split("  ")[0] for line in lines] == ["epoch 2/2"]
    assert losses(lines) == pytest.approx([np.mean(kept.losses)], rel=1e-3)


def test_the_start_names_data_model_and_classes(make_runner, toy, capsys):
    dataset = toy.Dataset(
        classes=("dog", "cat"), groups=dict(head=(0,), medium=(), tail=(1,))
    )
    make_runner([ConsoleHook()], dataset=dataset, epochs=1).train()
    text = "\n".join(summary(capsys.readouterr().out))
    model = toy.Model()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    assert "ToyDataset, images: 12 to train" in text
    assert "classes  2 (1 head, 0 medium, 1 tail)" in text
    assert f"ToyModel, {trained} of {total} parameters trainable, on cpu" in text


def test_a_test_tells_its_scores_and_weights(make_runner, toy, tmp_path, capsys):
    make_runner([], epochs=1, work_dir=tmp_path / "trained").train()
    capsys.readouterr()
    checkpoint = str(tmp_path / "trained" / "epoch_1.pth")
    make_runner(
        [ConsoleHook()],
        load_from=checkpoint,
        test_dataloader=dict(
            dataset=toy.Dataset(), sampler=dict(type="DefaultSampler"), batch_size=4
        ),
        test_cfg=dict(),
        test_evaluator=Evaluator(toy.Metric()),
    ).test()
    text = "\n".join(summary(capsys.readouterr().out))
    assert f"\n  weights  {checkpoint}\n" in text.split("\nTesting toy")[1]
    assert re.search(r"(?m)^test  mean \S+  single 1\.50  count 12\.00$", text)


def test_other_processes_are_silent(make_runner, capsys, monkeypatch):
    monkeypatch.setattr("mmengine.dist.utils.get_rank", lambda group=None: 1)
    make_runner([ConsoleHook()], epochs=1).train()
    assert not [x for x in summary(capsys.readouterr().out) if x.startswith("epoch")]


def results(num_classes, name="class {:03}"):
    """Classes in shuffled order, in groups by their count."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.randperm(num_classes, generator=generator).tolist()
    return [
        dict(
            name=name.format(index),
            train_count=count,
            group=("tail", "medium", "head")[3 * count // num_classes],
            num_positives=1,
            average_precision=float("nan") if count == 1 else count + 0.25,
        )
        for index, count in enumerate(counts)
    ]


@pytest.mark.parametrize(("width", "blocks"), [(40, 1), (60, 2), (80, 3), (10, 1)])
def test_as_many_blocks_as_fit_show_each_class_once(width, blocks):
    classes = results(24)
    _, header, *lines = class_table(classes, width).splitlines()
    assert header.split() == ["class", "train", "AP"] * blocks
    assert len(lines) == -(-27 // blocks)
    assert width == 10 or max(map(len, lines)) <= width
    text = "\n".join(lines)
    for entry in classes:
        count, precision = entry["train_count"], entry["average_precision"]
        row = rf"{entry['name']} +{count} +{re.escape(f'{precision:.2f}')}(?!\S)"
        assert len(re.findall(row, text)) == 1


def test_groups_have_their_mean_and_come_by_frequency():
    _, _, *lines = class_table(results(24), 30).splitlines()
    means = {
        "head (8)": 19.75,
        "medium (8)": 11.75,
        "tail (8)": (28 - 1 + 7 * 0.25) / 7,
    }
    rows = [line for line in lines if not line.startswith("class")]
    assert [row.rsplit(maxsplit=1)[0] for row in rows] == [*means]
    assert [float(row.split()[-1]) for row in rows] == pytest.approx(
        [*means.values()], abs=0.005
    )
    counts = [int(line.split()[2]) for line in lines if line.startswith("class")]
    assert counts == sorted(counts, reverse=True)


def test_without_groups_there_are_classes_alone():
    classes = [dict(each, group=None, train_count=None) for each in results(5)]
    _, _, *lines = class_table(classes, 30).splitlines()
    assert [line.split()[1] for line in lines] == [f"00{i}" for i in range(5)]
    assert all(line.split()[2] == "-" for line in lines)


def test_the_table_is_that_of_the_last_evaluation_and_of_the_terminals_width(
    monkeypatch, capsys
):
    from capnet_mm.evaluation import LongTailMAP

    monkeypatch.setenv("COLUMNS", "60")
    metric = LongTailMAP()
    module._say_classes(Evaluator(metric))
    assert capsys.readouterr().out == ""
    metric.class_results = results(24)
    module._say_classes(Evaluator([LongTailMAP(), metric]))
    assert capsys.readouterr().out == class_table(results(24), 60) + "\n"
