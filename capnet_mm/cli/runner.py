"""Building the runner of a command line tool."""

import io
import re
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from capnet_mm.engine import ConsoleHook, ProgressBarHook

from .console import LOG, SUMMARY, show_warnings_only


def build_runner(cfg: Config, console: str = LOG) -> Runner:
    """Build the runner, without touching what an earlier run has left.

    MMEngine's runner writes the config into the work dir as soon as it is built. If
    the run then fails to start, the earlier run's checkpoints lie beside a config
    that isn't theirs. This one replaces an existing config only after the first
    iteration of training.

    Args:
        cfg (Config): The whole config; ``runner_type`` chooses another runner.
        console (str): What the terminal shows: ``'log'``, MMEngine's whole log;
            ``'summary'``, a progress bar, the lines of
            :class:`~capnet_mm.engine.ConsoleHook`, warnings and errors; or
            ``'warnings'``, the bar, warnings and errors. The log file is the same
            each time. Defaults to ``'log'``.

    Returns:
        Runner: Ready to ``train()`` or ``test()``.

    Raises:
        OSError: The work dir cannot be written to.
    """
    _check_work_dir(cfg.work_dir)
    if "runner_type" in cfg:
        runner = RUNNERS.build(cfg)
        if console != LOG:
            show_warnings_only(runner.logger)
    else:
        runner_type = _CarefulRunner if console == LOG else _QuietRunner
        runner = runner_type.from_cfg(cfg)
        runner.register_hook(_DumpConfigHook())
    if console != LOG and not _has_progress_bar(runner):
        runner.register_hook(ProgressBarHook())
    if console == SUMMARY:
        runner.register_hook(ConsoleHook())
    return runner


def _check_work_dir(folder: str) -> None:
    """Try what would fail deep inside otherwise, or after the first epoch."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            error.errno,
            f"The work dir {folder} cannot be written to ({error.strerror}): name "
            "another one, --work-dir DIR.",
        ) from error


def _has_progress_bar(runner: Runner) -> bool:
    return any(isinstance(hook, ProgressBarHook) for hook in runner.hooks)


class _CarefulRunner(Runner):
    def dump_config(self) -> None:
        """Write the config into the work dir, if there is none of that name."""
        name = self.cfg.filename
        if name is None or not (Path(self.work_dir) / Path(name).name).exists():
            super().dump_config()


class _QuietRunner(_CarefulRunner):
    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the logger, before the runner has logged a line."""
        return show_warnings_only(super().build_logger(*args, **kwargs))

    def load_checkpoint(self, *args, **kwargs) -> dict:
        """Load a checkpoint; weights that do not match are a warning of the log.

        MMEngine prints them, and which file it reads, past the log.
        """
        printed = io.StringIO()
        try:
            with redirect_stdout(printed):
                return super().load_checkpoint(*args, **kwargs)
        finally:
            text = re.sub("(?m)^Loads checkpoint by .*\n", "", printed.getvalue())
            if text.strip():
                self.logger.warning(text.strip())


class _DumpConfigHook(Hook):
    """Writes the config of a run that has come to train."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self._done = False

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        if not self._done:
            self._done = True
            Runner.dump_config(runner)
