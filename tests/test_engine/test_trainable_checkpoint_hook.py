import math
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import EMAHook, Hook
from mmengine.model import BaseTTAModel
from torch import nn

from capnet_mm.engine import TrainableCheckpointHook

# The tower's identity stands where its weights are left out.
TRAINED = {
    "trained.weight",
    "trained.bias",
    "counts.class_counts",
    "frozen._extra_state",
}
FROZEN = {
    "frozen.0.weight",
    "frozen.0.bias",
    "frozen.1.weight",
    "frozen.1.bias",
    "frozen.1.running_mean",
    "frozen.1.running_var",
    "frozen.1.num_batches_tracked",
}


def saved_by(runner, name="epoch_1.pth"):
    return torch.load(Path(runner.work_dir, name))


def weights(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


@pytest.fixture
def test_parts(toy):
    sampler = dict(type="DefaultSampler", shuffle=False)
    return dict(
        test_dataloader=dict(dataset=toy.Dataset(), sampler=sampler, batch_size=4),
        test_cfg=dict(),
        test_evaluator=Evaluator(toy.Metric()),
    )


def test_checkpoints_hold_what_is_trained_and_buffers_without_parameters(make_runner):
    runner = make_runner([TrainableCheckpointHook()], epochs=1)
    runner.train()
    checkpoint = saved_by(runner)
    assert set(checkpoint["state_dict"]) == TRAINED
    assert set(runner.model.state_dict()) == TRAINED | FROZEN


def test_averaged_weights_are_saved_without_the_frozen_ones(make_runner):
    runner = make_runner([TrainableCheckpointHook(), EMAHook()], epochs=1)
    runner.train()
    checkpoint = saved_by(runner)
    assert set(checkpoint["state_dict"]) == TRAINED
    averaged = {f"module.{key}" for key in TRAINED} | {"steps"}
    assert set(checkpoint["ema_state_dict"]) == averaged


@pytest.mark.parametrize("ema", [[], [dict(type="EMAHook", strict_load=True)]])
def test_training_resumes_from_such_checkpoints_as_from_whole_ones(
    make_runner, tmp_path, capsys, ema
):
    results = []
    for name, hooks in (("whole", []), ("trained", [TrainableCheckpointHook()])):
        hooks = [dict(type="EpochSeedHook"), *ema, *hooks]
        make_runner(hooks, epochs=2, work_dir=tmp_path / name).train()
        runner = make_runner(hooks, epochs=4, work_dir=tmp_path / name, resume=True)
        runner.train()
        results.append((weights(runner.model), saved_by(runner, "epoch_4.pth")))
        assert "do not match exactly" not in capsys.readouterr().out
    assert_equal(results[0][0], results[1][0])
    for key in ("state_dict", "ema_state_dict")[: 1 + len(ema)]:
        whole, trained = results[0][1][key], results[1][1][key]
        assert_equal({k: whole[k] for k in trained}, dict(trained))


@pytest.mark.parametrize("ema", [[], [dict(type="EMAHook")]])
def test_missing_trained_weights_are_named_and_frozen_ones_are_not(
    make_runner, tmp_path, capsys, ema
):
    hooks = [TrainableCheckpointHook(), *ema]
    first = make_runner(hooks, epochs=1)
    first.train()
    checkpoint = saved_by(first)
    del checkpoint["state_dict"]["trained.bias"]
    checkpoint.pop("ema_state_dict", None)  # the hook then starts from the weights
    torch.save(checkpoint, tmp_path / "incomplete.pth")

    second = make_runner(
        hooks,
        epochs=1,
        work_dir=tmp_path / "second",
        load_from=str(tmp_path / "incomplete.pth"),
    )
    second.train()
    printed = capsys.readouterr().out.splitlines()
    warned = [line for line in printed if "missing keys" in line]
    assert len(warned) == 1 + len(ema)
    assert set(warned) == {"missing keys in source state_dict: trained.bias"}


def test_a_checkpoint_of_trained_weights_tests_as_the_model_did(
    make_runner, tmp_path, test_parts, capsys
):
    first = make_runner([TrainableCheckpointHook()], epochs=1, **test_parts)
    first.train()
    expected = first.test()["toy/mean"]
    torch.manual_seed(0)
    second = make_runner(
        [TrainableCheckpointHook()],
        work_dir=tmp_path / "second",
        load_from=str(Path(first.work_dir, "epoch_1.pth")),
        **test_parts,
    )
    second.test()
    assert_equal(weights(first.model), weights(second.model))
    assert "do not match exactly" not in capsys.readouterr().out
    assert math.isfinite(expected)


def test_a_test_time_ensemble_loads_a_checkpoint_of_trained_weights(
    make_runner, toy, tmp_path, test_parts, capsys
):
    class Ensemble(BaseTTAModel):
        def test_step(self, data):
            return self.module.test_step(data)

        def merge_preds(self, data_samples_list):
            raise NotImplementedError

    first = make_runner([TrainableCheckpointHook()], epochs=1)
    first.train()
    second = make_runner(
        [TrainableCheckpointHook()],
        model=Ensemble(toy.Model()),
        work_dir=tmp_path / "second",
        load_from=str(Path(first.work_dir, "epoch_1.pth")),
        **test_parts,
    )
    second.test()
    assert_equal(weights(first.model), weights(second.model.module))
    assert "do not match exactly" not in capsys.readouterr().out


def test_another_frozen_tower_than_in_training_is_refused(make_runner, toy, tmp_path):
    first = make_runner([TrainableCheckpointHook()], epochs=1)
    first.train()
    second = make_runner(
        [TrainableCheckpointHook()],
        model=toy.Model(seed=1),
        work_dir=tmp_path / "second",
        load_from=str(Path(first.work_dir, "epoch_1.pth")),
    )
    with pytest.raises(
        ValueError, match=r"toy tower 0; 1 of those 7 .*tower 1 \(0.weight"
    ):
        second.train()


def test_frozen_weights_of_another_precision_are_accepted(make_runner, toy, tmp_path):
    first = make_runner([TrainableCheckpointHook()], epochs=1)
    first.train()
    model = toy.Model()
    model.frozen.double()
    model.forward = lambda inputs, mode="tensor": dict(loss=model.trained.bias.sum())
    second = make_runner(
        [TrainableCheckpointHook()],
        model=model,
        epochs=1,
        work_dir=tmp_path / "second",
        load_from=str(Path(first.work_dir, "epoch_1.pth")),
    )
    second.train()
    assert second.iter == 3


def test_frozen_weights_that_construction_does_not_give_are_saved(make_runner, toy):
    class Pretrained(toy.Model):  # as MMPretrain's backbones, by init_cfg
        def init_weights(self):
            self.frozen[0].weight.data.fill_(0.5)

    runner = make_runner([TrainableCheckpointHook()], model=Pretrained(), epochs=1)
    runner.train()
    checkpoint = saved_by(runner)
    assert set(checkpoint["state_dict"]) == TRAINED | {"frozen.0.weight"}
    assert (checkpoint["state_dict"]["frozen.0.weight"] == 0.5).all()


def test_statistics_that_a_frozen_norm_gathers_are_saved(make_runner, toy):
    class Gathering(toy.Model):
        def train(self, mode=True):
            nn.Module.train(self, mode)

    runner = make_runner([TrainableCheckpointHook()], model=Gathering(), epochs=1)
    runner.train()
    gathered = {key for key in FROZEN if "running" in key or "tracked" in key}
    assert set(saved_by(runner)["state_dict"]) == TRAINED | gathered


def test_a_tower_with_a_trained_part_keeps_the_buffers_beside_it(make_runner, toy):
    model = toy.Model()
    model.frozen[1].bias.requires_grad_(True)
    model.frozen.remember_frozen_weights("toy tower")
    runner = make_runner([TrainableCheckpointHook()], model=model, epochs=1)
    runner.train()
    kept = {
        key for key in FROZEN if "1.run" in key or "1.num" in key or "1.bias" in key
    }
    assert set(saved_by(runner)["state_dict"]) == TRAINED | kept


def test_weights_frozen_after_some_training_are_saved(make_runner):
    class Freeze(Hook):
        def before_train_epoch(self, runner):
            runner.model.trained.weight.requires_grad_(runner.epoch == 0)

    runner = make_runner([TrainableCheckpointHook(), Freeze()], epochs=2)
    runner.train()
    assert set(saved_by(runner, "epoch_2.pth")["state_dict"]) == TRAINED
