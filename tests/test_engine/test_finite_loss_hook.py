import math
from pathlib import Path

import pytest
import torch

from capnet_mm.engine import FiniteLossHook
from capnet_mm.engine.hooks import finite_loss_hook


def spoiling(toy, value, at):
    class Spoiled(toy.Model):
        calls = 0

        def forward(self, inputs, mode="tensor"):
            outputs = super().forward(inputs, mode)
            if mode == "loss":
                self.calls += 1
                if self.calls == at:
                    outputs["loss"] = outputs["loss"] * value
            return outputs

    return Spoiled()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_training_and_says_where(
    make_runner, toy, value
):
    # Three iterations an epoch: the sixth is the last of the second epoch.
    runner = make_runner([FiniteLossHook()], model=spoiling(toy, value, at=6))
    with pytest.raises(FloatingPointError) as caught:
        runner.train()
    message = str(caught.value)
    assert "epoch 2, iteration 3 (6 of the run)" in message
    assert f"loss = {value}" in message
    assert str(Path(runner.work_dir, "epoch_1.pth")) in message


def test_the_only_checkpoint_that_is_kept_survives_a_bad_loss(make_runner, toy):
    keep_one = dict(type="CheckpointHook", interval=1, max_keep_ckpts=1)
    runner = make_runner(
        [FiniteLossHook()], model=spoiling(toy, math.nan, at=6), checkpoint=keep_one
    )
    with pytest.raises(FloatingPointError):
        runner.train()
    assert [p.name for p in Path(runner.work_dir).glob("*.pth")] == ["epoch_1.pth"]
    weights = torch.load(Path(runner.work_dir, "epoch_1.pth"))["state_dict"]
    assert all(torch.isfinite(weight).all() for weight in weights.values())


def test_a_bad_loss_when_checkpoints_are_saved_by_iteration_saves_nothing(
    make_runner, toy
):
    each = dict(type="CheckpointHook", interval=1, by_epoch=False)
    runner = make_runner(
        [FiniteLossHook()], model=spoiling(toy, math.nan, at=2), checkpoint=each
    )
    with pytest.raises(FloatingPointError):
        runner.train()
    assert [p.name for p in Path(runner.work_dir).glob("*.pth")] == ["iter_1.pth"]


def test_a_bad_loss_before_any_checkpoint_says_so(make_runner, toy):
    runner = make_runner([FiniteLossHook()], model=spoiling(toy, math.nan, at=1))
    with pytest.raises(FloatingPointError, match="None was saved yet"):
        runner.train()


def test_a_bad_loss_of_another_process_stops_this_one_too(make_runner, monkeypatch):
    calls = []

    def all_reduce(flag, op):
        calls.append((flag.item(), op))
        flag.fill_(len(calls) == 2)  # the maximum over both

    monkeypatch.setattr(finite_loss_hook, "get_world_size", lambda: 2)
    monkeypatch.setattr(finite_loss_hook, "all_reduce", all_reduce)
    runner = make_runner([FiniteLossHook()])
    with pytest.raises(FloatingPointError, match="iteration 2 .* in another process"):
        runner.train()
    assert calls == [(0.0, "max"), (0.0, "max")]


def test_weights_spoiled_by_a_finite_loss_are_not_saved(make_runner, toy):
    class Spoiled(toy.Model):
        calls = 0

        def forward(self, inputs, mode="tensor"):
            outputs = super().forward(inputs, mode)
            self.calls += 1
            if self.calls == 6:  # of value 0, but of infinite slope
                outputs["loss"] = (
                    self.trained.bias - self.trained.bias.detach()
                ).sqrt()
                outputs["loss"] = outputs["loss"].sum()
            return outputs

    runner = make_runner([FiniteLossHook()], model=Spoiled())
    with pytest.raises(FloatingPointError, match="After epoch 2 .* trained.bias"):
        runner.train()
    assert [p.name for p in Path(runner.work_dir).glob("*.pth")] == ["epoch_1.pth"]


def test_training_with_finite_losses_goes_through(make_runner):
    runner = make_runner([FiniteLossHook()])
    runner.train()
    assert runner.iter == 6
