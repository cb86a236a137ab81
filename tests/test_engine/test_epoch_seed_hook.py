import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from capnet_mm.engine import EpochSeedHook

WORKER_INIT = dict(type="epoch_worker_init_fn")


class Interrupted(Exception):
    pass


class Interrupt(Hook):
    """Stops in the middle of the third epoch."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.epoch == 2 and batch_idx == 1:
            raise Interrupted


def weights_after_training(runner):
    runner.train()
    return {k: v.clone() for k, v in runner.model.state_dict().items()}


def differences(make_runner, work_dir, num_workers=0, hooks=(), **kwargs):
    """Weights that 4 epochs straight and 2 + 2 epochs do not end with alike."""
    loader = dict(persistent_workers=False, worker_init_fn=dict(WORKER_INIT))
    kwargs.update(num_workers=num_workers, loader=loader if num_workers else None)
    kwargs.update(epochs=4, validate=True)  # which draws random numbers in between

    straight = make_runner(hooks, work_dir=work_dir / "straight", **kwargs)
    straight = weights_after_training(straight)
    with pytest.raises(Interrupted):
        make_runner([*hooks, Interrupt()], work_dir=work_dir / "half", **kwargs).train()
    torch.rand(17)  # whatever happened in between
    resumed = make_runner(hooks, work_dir=work_dir / "half", resume=True, **kwargs)
    resumed = weights_after_training(resumed)
    return [key for key in straight if not torch.equal(straight[key], resumed[key])]


@pytest.mark.parametrize(
    "optimizer", [dict(type="SGD", lr=0.02, momentum=0.9), dict(type="AdamW", lr=0.01)]
)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_resumed_training_ends_with_the_weights_of_uninterrupted(
    make_runner, tmp_path, num_workers, optimizer
):
    hooks = [EpochSeedHook()]
    assert (
        differences(make_runner, tmp_path, num_workers, hooks, optimizer=optimizer)
        == []
    )


def test_without_the_hook_resumed_training_differs(make_runner, tmp_path):
    assert differences(make_runner, tmp_path) == ["trained.weight", "trained.bias"]


def test_run_without_a_seed_resumes_with_that_of_its_checkpoint(make_runner, tmp_path):
    free = dict(epochs=4, work_dir=tmp_path, randomness=dict(seed=None))
    first = make_runner([EpochSeedHook()], **free)
    straight = weights_after_training(first)
    checkpoint = str(tmp_path / "epoch_2.pth")
    second = make_runner([EpochSeedHook()], resume=True, load_from=checkpoint, **free)
    resumed = weights_after_training(second)
    assert second.seed == first.seed
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_epoch_and_worker_sees_its_own_augmentations(
    make_runner, toy, num_workers
):
    class OnlyNoise(toy.Dataset):
        def __getitem__(self, index):
            return dict(inputs=torch.full((4,), np.random.rand()))

    seen = []

    class Recording(toy.Model):
        def forward(self, inputs, mode="tensor"):
            seen.extend(float(point[0]) for point in inputs)
            return super().forward(inputs, mode)

    runner = make_runner(
        [EpochSeedHook()],
        model=Recording(),
        dataset=OnlyNoise(),
        epochs=3,
        num_workers=num_workers,
        loader=dict(worker_init_fn=dict(WORKER_INIT)),
    )
    runner.train()
    assert len(seen) == len(set(seen)) == 3 * 12


@pytest.mark.parametrize(
    ("loader", "named"),
    [
        (dict(persistent_workers=True), "persistent_workers=True"),
        (dict(), "epoch_worker_init_fn"),
    ],
)
def test_what_prevents_repeatable_training_is_logged(
    make_runner, read_log, loader, named
):
    runner = make_runner([EpochSeedHook()], epochs=1, num_workers=1, loader=loader)
    runner.train()
    assert named in read_log(runner)


def test_nothing_is_logged_when_training_is_repeatable(make_runner, read_log):
    runner = make_runner([EpochSeedHook()], epochs=1)
    runner.train()
    assert "Resumed training will not repeat" not in read_log(runner)
