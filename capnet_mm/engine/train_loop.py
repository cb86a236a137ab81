"""Training that can be stopped and taken up at any iteration."""

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import LOOPS

from .hooks.safe_checkpoint_hook import SafeCheckpointHook, UnsavedCheckpointError
from .lost_processes import LostProcessError, lost_processes
from .resumable_batches import ResumableBatches
from .stop_signals import StopSignals, spare_workers

# Keys of the message hub, which is part of every checkpoint.
_POSITION = "position_in_epoch"
_VALIDATED = "validated_epoch"


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """Epoch-based training that loses nothing when it is stopped.

    - SIGTERM (pre-emption, ``scancel``, torchrun) and SIGINT (Ctrl-C): the iteration is
      finished, with gradient accumulation the last of its step, then
      :class:`SafeCheckpointHook` saves ``resume.pth`` and the process ends with
      128 + the signal's number, as a shell would report it. Of several processes all
      stop at the same iteration if one is asked to. A validation is broken off, and
      made when training is resumed.
    - Resumed from a checkpoint in mid-epoch, training goes on at that iteration; images
      that were seen are skipped, not loaded. With :class:`EpochSeedHook` the weights
      end as those of uninterrupted training, bit for bit.
    - Resumed after a crash between a checkpoint and the validation of its epoch, the
      validation comes first: a best checkpoint is missed no more.
    - An error is logged with the checkpoint to go on from, then raised.

    Without :class:`SafeCheckpointHook` signals do what they did before.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader or dict): The training batches.
        *args: As for MMEngine's ``EpochBasedTrainLoop``.
        **kwargs: The same: ``max_epochs``, ``val_interval``, ….

    Examples:
        >>> train_cfg = dict(type='ResumableTrainLoop', max_epochs=10, val_interval=1)
    """

    def __init__(self, runner, dataloader, *args, **kwargs) -> None:
        super().__init__(runner, dataloader, *args, **kwargs)
        self.batches = ResumableBatches(self.dataloader.batch_sampler)
        # DataLoader refuses the assignment, for the sake of passes that have begun.
        vars(self.dataloader)["batch_sampler"] = self.batches
        self._signals = StopSignals()

    def run(self) -> torch.nn.Module:
        """Train, from the beginning or from where a checkpoint was saved.

        Returns:
            nn.Module: The trained model.
        """
        if self._iter == 0:  # the message hub may be an earlier runner's
            self._note_position(0)
            self.runner.message_hub.update_info(_VALIDATED, 0)
        self.runner.call_hook("before_train")
        try:
            if self._checkpoint_hook is None:
                self._train()
            else:
                self._spare_workers()
                with self._signals:
                    self._train()
        except Exception as error:
            lost = lost_processes(error)
            self._explain(error)
            if lost:
                raise LostProcessError(
                    f"Process {', '.join(map(str, lost))} of {get_world_size()} has "
                    "ended, or answers no more; its own log says why. This process "
                    f"({get_rank()}) stops as well."
                ) from error
            raise
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        """Train an epoch, or what is left of it."""
        self.batches.start = start = self._seen_batches()
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        if start < len(self.dataloader):
            for index, data_batch in enumerate(self.dataloader, start):
                self._note_position(index + 1)
                self.run_iter(index, data_batch)
                self._stop_if_asked()
        self._note_position(0)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _train(self) -> None:
        self._decide_current_val_interval()
        if self._is_validation_owed():
            self._validate()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            if self._is_validation_due():
                self._validate()

    def _validate(self) -> None:
        """Validate; if that is broken off, the state before it is on the disk."""
        hook = self._checkpoint_hook
        self._stop_if_asked()
        if hook is not None and hook.saved_iter != self._iter:
            hook.save_for_resume(self.runner)
        self.runner.message_hub.update_info(_VALIDATED, self._epoch)
        self._signals.at_once = True
        self.runner.val_loop.run()
        self._signals.at_once = False

    def _is_validation_due(self) -> bool:
        if self.runner.val_loop is None or self._epoch < max(1, self.val_begin):
            return False
        at_interval = self._epoch % self.val_interval == 0
        return at_interval or self._epoch == self._max_epochs

    def _is_validation_owed(self) -> bool:
        """Whether the checkpoint was saved before the validation of its epoch."""
        validated = self._info(_VALIDATED)
        return (
            self._is_validation_due()
            and not self._seen_batches()
            and validated != self._epoch
        )

    def _stop_if_asked(self) -> None:
        if self._checkpoint_hook is None:
            return
        optimizer = self.runner.optim_wrapper
        # Gradients that were gathered for the next step are in no checkpoint.
        if isinstance(optimizer, OptimWrapper) and not optimizer.should_update():
            return
        if number := self._signals.agreed():
            self._checkpoint_hook.save_for_resume(self.runner)
            self.runner.logger.warning(
                f"Asked to stop (signal {number}) in epoch {self._epoch + 1}, after "
                f"iteration {self._iter} of the run: saved as "
                f"{self._checkpoint_hook.last_ckpt}. Go on with --resume."
            )
            raise SystemExit(128 + number)

    def _explain(self, error: Exception) -> None:
        """Log what an error has cost, which is never much."""
        if isinstance(error, UnsavedCheckpointError):
            return  # says it itself
        last = self._info("last_ckpt")
        kept = f"The last checkpoint is kept: {last}." if last else "None was saved."
        self.runner.logger.error(
            f"Training stops in epoch {self._epoch + 1}, at iteration "
            f"{self._iter + 1} of the run: {error} {kept} "
            "When the cause is removed, go on with --resume."
        )

    def _spare_workers(self) -> None:
        spare_workers(self.dataloader)
        if self.runner.val_loop is not None:
            spare_workers(self.runner.val_loop.dataloader)

    @property
    def _checkpoint_hook(self) -> SafeCheckpointHook | None:
        hooks = self.runner.hooks
        return next((h for h in hooks if isinstance(h, SafeCheckpointHook)), None)

    def _info(self, key: str):
        return self.runner.message_hub.runtime_info.get(key)

    def _note_position(self, seen: int) -> None:
        position = [seen, len(self.dataloader)]
        self.runner.message_hub.update_info(_POSITION, position)

    def _seen_batches(self) -> int:
        """Batches of this epoch that were seen before the run was stopped."""
        seen, length = self._info(_POSITION) or (0, 1)
        if seen and length != len(self.dataloader):
            self.runner.logger.warning(
                f"The checkpoint was saved after {seen} of {length} batches, and an "
                f"epoch has {len(self.dataloader)} now: goes on at the same share of "
                "it, where some images come twice or not at all."
            )
        return seen * len(self.dataloader) // length
