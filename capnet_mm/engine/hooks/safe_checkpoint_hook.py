"""Saves checkpoints in an order in which a crash at any moment loses none."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import is_main_process, master_only
from mmengine.hooks import CheckpointHook
from mmpretrain.registry import HOOKS

from capnet_mm.fileio import remove_parts, replace_files

# Where training stands, between the checkpoints of the interval.
RESUME_FILE = "resume.pth"


class UnsavedCheckpointError(OSError):
    """The disk does not take a checkpoint."""


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, which deletes nothing before the new one is there.

    MMEngine removes the oldest checkpoint, and the best one, before it writes the
    next, and empties ``last_checkpoint`` before it fills it: a crash or a full disk in
    between may leave nothing to go on from. Here new files come first, whole or not at
    all (:func:`~capnet_mm.compat.write_files_whole`), and old ones go afterwards. What
    an earlier run left half-written goes when training begins.

    :class:`~capnet_mm.engine.ResumableTrainLoop` has the hook save ``resume.pth`` when
    the process is asked to stop, and before a validation if the interval has left the
    epoch unsaved; the next checkpoint of the interval replaces that file.

    Args:
        **kwargs: As for ``CheckpointHook``.

    Raises:
        UnsavedCheckpointError: A checkpoint cannot be written, for want of room, say;
            the message names the last one that is good. The error is an ``OSError``.

    Examples:
        >>> checkpoint = dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=2)
        >>> default_hooks = dict(checkpoint=checkpoint)
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.saved_iter: int | None = None  # iterations done at the last checkpoint

    def before_train(self, runner) -> None:
        """Find the folder, and clean it of what a crash left there."""
        super().before_train(runner)
        if is_main_process():
            remove_parts(self.out_dir)

    def save_for_resume(self, runner) -> None:
        """Save where training stands.

        Args:
            runner (Runner): Between two iterations.
        """
        self._save(runner, RESUME_FILE, dict(epoch=runner.epoch, iter=runner.iter))

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        before = list(self.keep_ckpt_ids) if self.max_keep_ckpts > 0 else []
        if self.max_keep_ckpts > 0 and step not in before:
            self.keep_ckpt_ids.append(step)  # and forgets the oldest
            # The file names the oldest too: if this process dies before it is removed,
            # the next removes it.
            runner.message_hub.update_info("keep_ckpt_ids", [*before, step])
        self._save(runner, self.filename_tmpl.format(step), meta)
        outdated = [old for old in before if old not in self.keep_ckpt_ids]
        names = [self.filename_tmpl.format(old) for old in outdated]
        for name in (*names, RESUME_FILE):
            self._remove(self.file_backend.join_path(self.out_dir, name))

    def _save(self, runner, name: str, meta: dict) -> None:
        """Write a checkpoint, then note it as the latest."""
        path = self.file_backend.join_path(self.out_dir, name)
        with self._explained(runner, path):
            runner.message_hub.update_info("last_ckpt", path)
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                note = Path(runner.work_dir, "last_checkpoint")
                replace_files({note: path.encode()})
        self.last_ckpt = path
        self.saved_iter = meta["iter"]

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        if not self.save_best:
            return
        before = self._best_paths()
        self._set_best_paths(dict.fromkeys(before))  # nothing to delete for MMEngine
        with self._explained(runner, f"best checkpoint in {self.out_dir}"):
            super()._save_best_checkpoint(runner, metrics)
        after = self._best_paths()
        kept = {key: path or before[key] for key, path in after.items()}
        self._set_best_paths(kept)
        for path in set(before.values()) - set(kept.values()) - {None}:
            self._remove(path)

    def _best_paths(self) -> dict[str, str | None]:
        if len(self.key_indicators) == 1:
            return {"": self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def _set_best_paths(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths[""]
        else:
            self.best_ckpt_path_dict = paths

    @master_only
    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # DeepSpeed's
            self.file_backend.rmtree(path)

    @contextmanager
    def _explained(self, runner, what: str) -> Iterator[None]:
        """Say of an error of the disk which checkpoint is still good."""
        last = runner.message_hub.runtime_info.get("last_ckpt")
        try:
            yield
        except UnsavedCheckpointError:
            raise
        except OSError as error:
            kept = f"The last one is kept: {last}." if last else "None was saved yet."
            raise UnsavedCheckpointError(
                error.errno,
                f"Cannot save the checkpoint {what}: {error.strerror}. {kept} Where "
                "there is room again, go on with --resume.",
            ) from error
