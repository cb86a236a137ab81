import os
import signal
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from capnet_mm.engine import EpochSeedHook, ResumableTrainLoop, SafeCheckpointHook

LOOP = dict(type=ResumableTrainLoop.__name__)
CHECKPOINT = dict(type=SafeCheckpointHook.__name__, interval=1)


class SignalAt(Hook):
    """Sends this process a signal while it trains, or while it validates."""

    def __init__(self, iteration, number=signal.SIGTERM, validation=False):
        self.iteration, self.number, self.validation = iteration, number, validation

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration and not self.validation:
            os.kill(os.getpid(), self.number)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration and self.validation:
            os.kill(os.getpid(), self.number)


class Validations(Hook):
    def __init__(self):
        self.epochs = []

    def after_val_epoch(self, runner, metrics=None):
        self.epochs.append(runner.epoch)


@pytest.fixture
def make(make_runner, tmp_path):
    """Runners of 4 epochs of 3 iterations."""

    def make(name, hooks=(), resume=False, workers=0, **kwargs):
        kwargs = dict(epochs=4, loop=LOOP, checkpoint=CHECKPOINT, **kwargs)
        hooks = [EpochSeedHook(), *hooks]
        work_dir = tmp_path / name
        kwargs.update(work_dir=work_dir, resume=resume, num_workers=workers)
        return make_runner(hooks, **kwargs)

    return make


def weights(runner):
    return {k: v.clone() for k, v in runner.model.state_dict().items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


def stop(runner, code=143):
    with pytest.raises(SystemExit) as stopped:
        runner.train()
    assert stopped.value.code == code


def latest(runner):
    return torch.load(Path(runner.work_dir, "last_checkpoint").read_text())


@pytest.mark.parametrize(
    ("workers", "number"),
    [(0, signal.SIGTERM), (0, signal.SIGINT), (2, signal.SIGTERM)],
)
@pytest.mark.parametrize("iteration", [3, 4, 5])  # first, middle, last of epoch 2
def test_training_stopped_in_mid_epoch_ends_with_the_weights_of_uninterrupted(
    make, workers, number, iteration
):
    straight = make("straight", workers=workers)
    straight.train()
    interrupt = SignalAt(iteration, number)
    first = make("half", [interrupt], workers=workers, validate=True)
    stop(first, 128 + number)
    meta = latest(first)["meta"]
    assert (meta["epoch"], meta["iter"]) == (1, iteration + 1)
    resumed = make("half", resume=True, workers=2 - workers)  # their number is free
    resumed.train()
    assert resumed.iter == 12
    assert_equal(weights(straight), weights(resumed))
    assert not Path(resumed.work_dir, "resume.pth").exists()  # epoch_2.pth is newer


def test_resuming_in_mid_epoch_loads_no_image_again(make, toy):
    class Recording(toy.Dataset):
        def __getitem__(self, index):
            loaded.append(index)
            return super().__getitem__(index)

    loaded = []
    stop(make("run", [SignalAt(4)], dataset=Recording()))
    make("run", resume=True, dataset=Recording()).train()
    assert len(loaded) == 4 * 12
    assert sorted(loaded[12:24]) == list(range(12))  # epoch 2, in two runs


def test_averaged_weights_and_accumulated_gradients_resume_too(make):
    options = dict(wrapper=dict(accumulative_counts=2))
    hooks = lambda: [dict(type="EMAHook", momentum=0.3)]  # noqa: E731
    straight = make("straight", hooks(), **options)
    straight.train()
    first = make("half", [*hooks(), SignalAt(6)], **options)
    stop(first)
    assert latest(first)["meta"]["iter"] == 8  # 7 would lose half a step's gradient
    make("half", hooks(), resume=True, **options).train()
    one, other = (
        torch.load(Path(first.work_dir).parent / name / "epoch_4.pth")
        for name in ("straight", "half")
    )
    for part in ("state_dict", "ema_state_dict"):
        assert_equal(one[part], other[part])


@pytest.mark.parametrize("interval", [1, 3])
def test_a_validation_that_was_broken_off_is_made_when_training_resumes(
    make_runner, tmp_path, interval
):
    options = dict(
        epochs=3,
        loop=dict(LOOP, val_interval=2),
        checkpoint=dict(CHECKPOINT, interval=interval, save_best="toy/mean"),
        work_dir=tmp_path,
        validate=True,
    )
    options["checkpoint"]["rule"] = "greater"
    stop(make_runner([SignalAt(6, validation=True)], **options))
    assert not list(tmp_path.glob("best*"))
    seen = Validations()
    resumed = make_runner([seen], resume=True, **options)
    resumed.train()
    assert seen.epochs == [2, 3]
    assert list(tmp_path.glob("best*"))


def test_the_validation_missed_by_a_crash_is_made_up_for(make):
    class Crash(Hook):
        def before_val(self, runner):
            raise MemoryError

    with pytest.raises(MemoryError):
        make("run", [Crash()], validate=True).train()
    seen = Validations()
    make("run", [seen], resume=True, validate=True).train()
    assert seen.epochs == [1, 2, 3, 4]


def test_a_validation_is_not_repeated_where_a_later_state_is_known(make):
    stop(make("run", [SignalAt(4)], validate=True))
    seen = Validations()
    make("run", [seen], resume=True, validate=True).train()
    assert seen.epochs == [2, 3, 4]


def test_an_error_is_logged_with_the_checkpoint_to_go_on_from(make, read_log):
    class Vanish(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == 4:
                raise FileNotFoundError("data/17.jpg")

    runner = make("run", [Vanish()])
    with pytest.raises(FileNotFoundError):
        runner.train()
    log = read_log(runner)
    assert "Training stops in epoch 2, at iteration 5 of the run: data/17.jpg" in log
    assert f"is kept: {runner.work_dir}/epoch_1.pth" in log and "--resume" in log


def test_another_number_of_batches_is_taken_up_at_the_same_share(make, toy, read_log):
    class Twice(toy.Dataset):
        def __len__(self):
            return 24

    stop(make("run", [SignalAt(1)]))
    resumed = make("run", resume=True, dataset=Twice())
    resumed.train()
    assert resumed.iter == 2 + (6 - 4) + 3 * 6
    assert "after 2 of 3 batches" in read_log(resumed)


@pytest.mark.parametrize("checkpoint", [CHECKPOINT, dict(type="CheckpointHook")])
def test_signals_are_taken_only_where_a_state_can_be_saved_and_given_back(
    make_runner, checkpoint
):
    class Look(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.add(signal.getsignal(signal.SIGTERM))

    before, seen = signal.getsignal(signal.SIGTERM), set()
    make_runner([Look()], epochs=1, loop=LOOP, checkpoint=checkpoint).train()
    assert (seen == {before}) == (checkpoint is not CHECKPOINT)
    assert signal.getsignal(signal.SIGTERM) == before


def test_mmengines_checkpoints_by_iteration_resume_at_their_iteration(
    make_runner, tmp_path
):
    options = dict(
        epochs=2,
        loop=LOOP,
        work_dir=tmp_path,
        checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=2),
    )
    straight = make_runner([EpochSeedHook()], **options)
    straight.train()
    fourth = str(tmp_path / "iter_4.pth")
    options.update(resume=True, load_from=fourth)
    resumed = make_runner([EpochSeedHook()], **options)
    resumed.train()
    assert resumed.iter == 6
    assert_equal(weights(straight), weights(resumed))
