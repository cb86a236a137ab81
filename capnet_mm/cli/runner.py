"""Building the runner of a command line tool."""

from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner


def build_runner(cfg: Config) -> Runner:
    """Build the runner, without touching what an earlier run has left.

    MMEngine's runner writes the config into the work dir as soon as it is built. If
    the run then fails to start, the earlier run's checkpoints lie beside a config
    that isn't theirs. This one replaces an existing config only after the first
    iteration of training.

    Args:
        cfg (Config): The whole config; ``runner_type`` chooses another runner.

    Returns:
        Runner: Ready to ``train()`` or ``test()``.
    """
    if "runner_type" in cfg:
        return RUNNERS.build(cfg)
    runner = _CarefulRunner.from_cfg(cfg)
    runner.register_hook(_DumpConfigHook())
    return runner


class _CarefulRunner(Runner):
    def dump_config(self) -> None:
        """Write the config into the work dir, if there is none of that name."""
        name = self.cfg.filename
        if name is None or not (Path(self.work_dir) / Path(name).name).exists():
            super().dump_config()


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
