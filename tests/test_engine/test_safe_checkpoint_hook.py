import errno
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from capnet_mm.engine import SafeCheckpointHook, UnsavedCheckpointError

SAFE = SafeCheckpointHook.__name__


def names(folder):
    return sorted(path.name for path in Path(folder).glob("*.pth"))


class FullDisk(Hook):
    """The disk has no room from the n-th checkpoint on."""

    def __init__(self, room_for):
        self.room = room_for

    def before_save_checkpoint(self, runner, checkpoint):
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


class Better(Hook):
    """Makes each validation better than the one before."""

    priority = "HIGH"

    def after_val_epoch(self, runner, metrics=None):
        metrics["toy/mean"] = runner.epoch


def test_a_checkpoint_that_has_no_room_leaves_the_last_one(make_runner, tmp_path):
    keep_one = dict(type=SAFE, interval=1, max_keep_ckpts=1)
    options = dict(epochs=3, checkpoint=keep_one, work_dir=tmp_path)
    runner = make_runner([FullDisk(room_for=1)], **options)
    with pytest.raises(UnsavedCheckpointError) as full:
        runner.train()
    assert full.value.errno == errno.ENOSPC
    kept = str(tmp_path / "epoch_1.pth")
    for part in (f"{tmp_path}/epoch_2.pth", f"is kept: {kept}", "--resume"):
        assert part in str(full.value)
    assert (tmp_path / "last_checkpoint").read_text() == kept
    make_runner(resume=True, **options).train()
    assert names(tmp_path) == ["epoch_3.pth"]


@pytest.mark.parametrize("save_best", ["toy/mean", ["toy/mean", "toy/count"]])
def test_a_best_checkpoint_that_has_no_room_leaves_the_one_before(
    make_runner, tmp_path, save_best
):
    keep = dict(type=SAFE, interval=1, save_best=save_best, rule="greater")
    several = isinstance(save_best, list)
    # Of each epoch: the epoch's, the best ones, the epoch's again. One best is missed.
    room = (3 + several) + 1
    options = dict(epochs=3, checkpoint=keep, work_dir=tmp_path, validate=True)
    runner = make_runner([Better(), FullDisk(room)], **options)
    with pytest.raises(UnsavedCheckpointError, match="best checkpoint"):
        runner.train()
    assert "best_toy_mean_epoch_1.pth" in names(tmp_path)
    runner = make_runner(
        [Better()], loop=dict(type="ResumableTrainLoop"), resume=True, **options
    )
    runner.train()
    best = [name for name in names(tmp_path) if name.startswith("best_toy_mean")]
    assert best == ["best_toy_mean_epoch_3.pth"]


def test_old_checkpoints_go_and_what_a_crash_left_too(make_runner, tmp_path):
    keep_two = dict(type=SAFE, interval=1, max_keep_ckpts=2)
    options = dict(checkpoint=keep_two, work_dir=tmp_path)
    make_runner(epochs=3, **options).train()
    assert names(tmp_path) == ["epoch_2.pth", "epoch_3.pth"]
    # As if the process had died after writing epoch_3, before it removed epoch_1.
    torch.save({}, tmp_path / "epoch_1.pth")
    (tmp_path / ".epoch_3.pth.x1y2.tmp").write_bytes(b"half")
    make_runner(epochs=4, resume=True, **options).train()
    assert names(tmp_path) == ["epoch_3.pth", "epoch_4.pth"]
    assert not list(tmp_path.glob(".*.tmp"))
