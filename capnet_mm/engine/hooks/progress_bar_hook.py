"""Shows in a terminal how far a run is."""

import atexit
import logging
import sys
import time

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import HOOKS
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

# Seconds between two drawings of the bar.
_REFRESH_INTERVAL = 0.1


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Shows a bar with epoch, iteration, loss and remaining time.

    There is one bar for the whole training, which gives way to a bar of its own for
    each validation, and one for each test. The bar is shown by the main process alone,
    and only where standard output is a terminal: in a file the lines of ``LoggerHook``
    say the same. While
    there is a bar, lines of the log appear above it; after the run it is gone.

    Examples:
        >>> custom_hooks = [dict(type='ProgressBarHook')]
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._train_task: TaskID | None = None
        self._evaluation_task: TaskID | None = None
        self._redirected: list[tuple[logging.StreamHandler, object]] = []
        self._last_refresh = 0.0

    def before_train(self, runner) -> None:
        """Show the bar of the training."""
        if self._start(runner):
            self._train_task = self._progress.add_task(
                "training", total=runner.max_iters, completed=runner.iter, loss=""
            )

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Move the bar on."""
        if self._progress is None:
            return
        self._progress.update(self._train_task, completed=runner.iter + 1)
        if not self._is_refresh_due():
            return
        # MMEngine's RuntimeInfoHook has read it already.
        loss = runner.message_hub.log_scalars.get("train/loss")
        fields = {} if loss is None else dict(loss=f"loss {loss.current():.4g}")
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            fields["description"] = f"epoch {runner.epoch + 1}/{runner.max_epochs}"
        self._progress.update(self._train_task, refresh=True, **fields)

    def after_train(self, runner) -> None:
        """Take the bar away."""
        self._stop()

    def before_val_epoch(self, runner) -> None:
        """Show the bar of the validation."""
        self._begin_evaluation(runner, "validation", len(runner.val_dataloader))

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Move the bar on."""
        self._evaluated(batch_idx + 1)

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Take the bar of the validation away."""
        self._end_evaluation()

    def before_test_epoch(self, runner) -> None:
        """Show the bar of the test."""
        self._begin_evaluation(runner, "test", len(runner.test_dataloader))

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Move the bar on."""
        self._evaluated(batch_idx + 1)

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        """Take the bar of the test away."""
        self._end_evaluation()

    def _begin_evaluation(self, runner, name: str, num_batches: int) -> None:
        if self._start(runner):
            # One line at a time: several cannot be redrawn by a carriage return.
            self._show_training(False)
            self._evaluation_task = self._progress.add_task(
                name, total=num_batches, loss=""
            )

    def _evaluated(self, num_batches: int) -> None:
        if self._progress is not None:
            self._progress.update(
                self._evaluation_task,
                completed=num_batches,
                refresh=self._is_refresh_due(),
            )

    def _end_evaluation(self) -> None:
        if self._progress is None:
            return
        self._progress.remove_task(self._evaluation_task)
        self._show_training(True)
        if self._train_task is None:  # no validation amid a training
            self._stop()

    def _show_training(self, visible: bool) -> None:
        if self._train_task is not None:
            self._progress.update(self._train_task, visible=visible)

    def _start(self, runner) -> bool:
        """Start the display unless there is one; whether there is one now."""
        if self._progress is None and is_main_process() and sys.stdout.isatty():
            console = Console()
            if console.is_dumb_terminal:
                return False
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[loss]}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
                # A refreshing thread might hold the console's lock at the moment
                # that a data loader forks; its worker could then never log a line.
                auto_refresh=False,
            )
            terminal = sys.stdout
            self._progress.start()  # puts its own sys.stdout in place
            self._redirect(runner.logger, terminal)
            # An error or Ctrl-C must not leave the cursor hidden.
            atexit.register(self._stop)
        return self._progress is not None

    def _redirect(self, logger: logging.Logger, terminal) -> None:
        """Let the log's lines appear above the bar."""
        for handler in logger.handlers:
            is_stream = isinstance(handler, logging.StreamHandler)
            if is_stream and handler.stream is terminal:
                handler.setStream(sys.stdout)
                self._redirected.append((handler, terminal))

    def _stop(self) -> None:
        if self._progress is None:
            return
        for handler, terminal in self._redirected:
            handler.setStream(terminal)
        self._progress.stop()
        atexit.unregister(self._stop)
        self._redirected = []
        self._progress = self._train_task = self._evaluation_task = None

    def _is_refresh_due(self) -> bool:
        now = time.monotonic()
        if now - self._last_refresh < _REFRESH_INTERVAL:
            return False
        self._last_refresh = now
        return True
