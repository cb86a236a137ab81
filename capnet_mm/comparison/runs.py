"""Training and testing several configs, one after the other.

What has been done is read off the folders, so that a comparison which was stopped goes
on where it was: ``WORK_DIR/<config>/seed<S>`` holds a training run, ``metrics.json``
(and ``metrics_tta.json``) its scores, ``comparison.json`` what it was made with.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from capnet_mm.checkpoint import check_checkpoint
from capnet_mm.cli.config import add_common_arguments, read_config
from capnet_mm.fileio import replace_files

RECORD = "run.json"
# What the outcome of a run does not depend on.
_IRRELEVANT = ("work_dir", "launcher")


@dataclass(frozen=True)
class Run:
    """One config with one seed.

    Attributes:
        config: The config file.
        label: Name of the config in the table.
        seed: Seed of the training.
        folder: Folder that everything of this run is written to.
        flags: Flags that the tools get beside the config and the work dir.
        settings: The config as the tools read it, in plain JSON types.
        tta: Whether the run is also tested with the test-time ensemble.
    """

    config: str
    label: str
    seed: int
    folder: Path
    flags: tuple[str, ...]
    settings: dict
    tta: bool

    @property
    def trains(self) -> bool:
        """Whether there is something to train: configs say no by train_cfg=None."""
        return self.settings.get("train_cfg") is not None

    @property
    def title(self) -> str:
        """Name of the run in messages."""
        return f"{self.label}, seed {self.seed}" if self.trains else self.label

    def metrics_file(self, tta: bool) -> Path:
        """Path of the file with the scores of a test."""
        return self.folder / ("metrics_tta.json" if tta else "metrics.json")

    def scores_file(self, tta: bool) -> Path:
        """Path of the file with what a test said of each image."""
        return self.folder / ("scores_tta.npz" if tta else "scores.npz")


def plan_runs(
    configs: Sequence[str],
    tta: Sequence[str],
    seeds: Sequence[int],
    work_dir: str | Path,
    flags: Sequence[str] = (),
    options: Sequence[str] = (),
) -> list[Run]:
    """Read the configs and say what is to be run.

    Args:
        configs: Config files, each maybe with ``=LABEL``.
        tta: Configs that are also tested with the test-time ensemble.
        seeds: Each config is trained with each of them; one without training is run
            once.
        work_dir: Folder for all runs.
        flags: Flags of the tools that train and test.
        options: Values of ``--cfg-options``, as ``KEY=VALUE``.

    Returns:
        The runs, config by config.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: Two configs have the same name, ``tta`` has one that is not
            compared or that describes no ensemble, or there is no seed or one twice.
    """
    if not seeds:
        raise ValueError("--seeds: at least one is needed.")
    check_unique("seed", [str(seed) for seed in seeds])
    rows = [_split_label(config) for config in configs]
    check_unique("file name", [Path(config).stem for config, _ in rows])
    check_unique("label", [label for _, label in rows])
    labels = dict(rows)
    absent = [config for config in tta if config not in labels]
    if absent:
        raise ValueError(
            f"--tta {' '.join(absent)}: not among the configs that are compared, "
            f"{' '.join(labels)}."
        )

    runs = []
    for config, label in labels.items():
        for seed in seeds:
            folder = Path(work_dir, Path(config).stem, f"seed{seed}")
            seeded = (*flags, "--cfg-options", *options, f"randomness.seed={seed}")
            settings = read_settings(config, seeded)
            runs.append(
                Run(config, label, seed, folder, seeded, settings, config in tta)
            )
            if config in tta and settings.get("tta_model") is None:
                raise ValueError(f"--tta {config}: the config has no tta_model.")
            if not runs[-1].trains:
                break
    return runs


def _split_label(argument: str) -> tuple[str, str]:
    """Config and label of ``CONFIG`` or ``CONFIG=LABEL``."""
    config, _, label = argument.partition("=")
    return config, label or Path(config).stem.replace("_", " ")


def check_unique(kind: str, names: Sequence[str]) -> None:
    """Refuse names that rows would share.

    Args:
        kind: What is named.
        names: The names.

    Raises:
        ValueError: A name is there twice.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"Two runs have the same {kind}, {', '.join(twice)}: every row needs "
            "its own label (CONFIG=LABEL), every folder its own file name, and every "
            "run of a config its own seed."
        )


def read_settings(config: str, flags: Sequence[str]) -> dict:
    """Read a config as the tools do with these flags, as plain JSON types.

    Args:
        config: The config file.
        flags: Flags of ``tools/train.py``; what changes no config may be among them.

    Returns:
        The whole config without what an outcome does not depend on.

    Raises:
        FileNotFoundError: There is no such config.
    """
    parser = argparse.ArgumentParser()
    add_common_arguments(parser)
    cfg = read_config(parser.parse_known_args([config, *flags])[0])
    settings = json.loads(json.dumps(cfg.to_dict(), default=repr))
    return {key: settings[key] for key in settings if key not in _IRRELEVANT}


def read_record(run: Run) -> dict | None:
    """Read what a run's folder says about itself.

    Args:
        run: The run.

    Returns:
        ``settings`` and ``training_seconds``, or None if there is no folder yet.

    Raises:
        FileExistsError: The folder is there but was not made by a comparison.
    """
    record = run.folder / RECORD
    if record.is_file():
        return json.loads(record.read_text())
    if run.folder.exists() and any(run.folder.iterdir()):
        raise FileExistsError(
            f"{run.folder} holds files but no {RECORD}, so it is not of a comparison: "
            "move it away or choose another --work-dir."
        )
    return None


def changed_settings(old: dict, new: dict) -> list[str]:
    """Name what differs between two configs.

    Args:
        old: The earlier config, in plain JSON types.
        new: The present config, in plain JSON types.

    Returns:
        One line a difference, as ``train_cfg.max_epochs: 10, now 20``.
    """
    before, now = dict(_leaves(old)), dict(_leaves(new))
    return [
        f"{key}: {before.get(key, '(absent)')}, now {now.get(key, '(absent)')}"
        for key in sorted(before.keys() | now.keys())
        if (key in before) != (key in now) or before.get(key) != now.get(key)
    ]


def _leaves(value, prefix: str = ""):
    """Dotted names and values of what is neither dict nor list, or is empty."""
    items = value.items() if isinstance(value, dict) else None
    if isinstance(value, list):
        items = enumerate(value)
    if not items:
        yield prefix.removesuffix("."), value
        return
    for key, item in items:
        yield from _leaves(item, f"{prefix}{key}.")


def check_runs(runs: Sequence[Run], restart: bool = False) -> None:
    """Check the folders of earlier runs, before anything is run.

    Args:
        runs: All runs.
        restart: Delete the folders of runs whose config has changed since.

    Raises:
        FileExistsError: A folder is not of a comparison.
        ValueError: A config has changed since, and ``restart`` is False.
    """
    for run in runs:
        record = read_record(run)
        changes = changed_settings(record["settings"], run.settings) if record else []
        if not changes:
            continue
        if not restart:
            more = f"\n  … and {len(changes) - 5} more" if len(changes) > 5 else ""
            raise ValueError(
                f"{run.folder} was made with other settings than {run.config} has now:"
                "\n  " + "\n  ".join(changes[:5]) + more + "\nWith --restart such "
                "folders are deleted and made anew; another --work-dir keeps them."
            )
        print(f"{run.title}: the config has changed, starting anew", flush=True)
        shutil.rmtree(run.folder)


def last_checkpoint(run: Run) -> Path | None:
    """The checkpoint that training wrote last.

    Args:
        run: The run.

    Returns:
        The file, also if the folder was moved since; None if there is none.
    """
    note = run.folder / "last_checkpoint"  # as MMEngine leaves it
    if not note.is_file():
        return None
    checkpoint = run.folder / Path(note.read_text().strip()).name
    return checkpoint if checkpoint.is_file() else None


def is_trained(run: Run) -> bool:
    """Whether the last checkpoint is of the end of training.

    Args:
        run: The run.

    Returns:
        True also for a run without training.

    Raises:
        ValueError: The checkpoint is damaged.
    """
    if not run.trains:
        return True
    checkpoint = last_checkpoint(run)
    if checkpoint is None:
        return False
    file = check_checkpoint(str(checkpoint))
    meta = torch.load(file, map_location="cpu", weights_only=True)["meta"]
    train_cfg = run.settings["train_cfg"]
    if "max_epochs" in train_cfg:
        return meta["epoch"] >= train_cfg["max_epochs"]
    return meta["iter"] >= train_cfg["max_iters"]


def complete_run(run: Run, tools: Path) -> None:
    """Train and test a run, as far as that has not been done.

    Args:
        run: The run.
        tools: Folder with ``train.py`` and ``test.py``.

    Raises:
        RuntimeError: A tool failed; the message says which, and where its log is.
        KeyboardInterrupt: The user has stopped it, and the tool has ended.
    """
    if is_trained(run):
        if run.trains:
            print(f"{run.title}: trained before", flush=True)
    else:
        _train(run, tools)
    if read_record(run) is None:
        write_record(run, training_seconds=0.0)
    for tta in (False, True) if run.tta else (False,):
        if run.metrics_file(tta).is_file() and run.scores_file(tta).is_file():
            print(f"{_title(run, tta)}: tested before", flush=True)
        else:
            _test(run, tools, tta)


def write_record(run: Run, training_seconds: float | None) -> None:
    """Note in a run's folder the settings that the run is made with.

    Args:
        run: The run.
        training_seconds: Time that training has taken; None if it is unknown.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    record = dict(training_seconds=training_seconds, settings=run.settings)
    text = json.dumps(record, ensure_ascii=False, indent=1)
    replace_files({run.folder / RECORD: text.encode()})


def _train(run: Run, tools: Path) -> None:
    checkpoint = last_checkpoint(run)
    record = read_record(run)
    before = record["training_seconds"] if record and checkpoint else 0.0
    resume = ["--resume", str(checkpoint)] if checkpoint else []
    for tta in (False, True):
        for file in (run.metrics_file(tta), run.scores_file(tta)):
            file.unlink(missing_ok=True)  # of a model that is no more
    # Stays unknown if this process is killed before it can note the time.
    write_record(run, training_seconds=None)
    print(f"{run.title}: {'going on with' if resume else 'in'} training", flush=True)
    start = time.monotonic()
    try:
        _call(run, "training", [tools / "train.py", *resume], run.folder)
    finally:
        if before is not None:
            write_record(run, before + time.monotonic() - start)
    if not is_trained(run):
        raise RuntimeError(
            f"Training of {run.title} has ended, but {last_checkpoint(run)} is not of "
            "its end: a comparison needs a CheckpointHook that saves the last epoch "
            "into the work dir, and training that is not stopped early."
        )


def _test(run: Run, tools: Path, tta: bool) -> None:
    print(f"{_title(run, tta)}: in test", flush=True)
    out = run.metrics_file(tta)
    new = out.with_name(f"new_{out.name}")
    checkpoint = [last_checkpoint(run)] if run.trains else []
    command = [tools / "test.py", *checkpoint, "--out", new, "--out-item", "metrics"]
    command += ["--scores", run.scores_file(tta)]
    folder = run.folder / ("test_tta" if tta else "test")
    _call(run, "test", [*command, *(["--tta"] if tta else [])], folder)
    new.replace(out)  # under its name it is always whole


def _title(run: Run, tta: bool) -> str:
    return f"{run.title} + TTE" if tta else run.title


def _call(run: Run, what: str, command: Sequence, work_dir: Path) -> None:
    """Run a tool, with the terminal that this process has."""
    tool, *arguments = map(str, command)
    words = [tool, run.config, *arguments, "--work-dir", str(work_dir), *run.flags]
    status = _wait(subprocess.Popen([sys.executable, *words]))
    if status:
        logs = sorted(work_dir.glob("*/*.log"))
        where = f"above and in {logs[-1]}" if logs else "above"
        why = f"signal {-status}" if status < 0 else f"exit status {status}"
        raise RuntimeError(
            f"The {what} of {run.title} ({run.config}) has failed ({why}): its "
            f"messages are {where}. What is finished is kept; once the cause is "
            "removed, the same command goes on."
        )


def _wait(process: subprocess.Popen, patience: float = 5.0) -> int:
    """Wait for a process to end; on Ctrl-C see to it that it does."""
    try:
        return process.wait()
    except KeyboardInterrupt:
        try:
            # In a terminal Ctrl-C has reached the process as well.
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        finally:  # also on a second Ctrl-C
            process.kill()
            process.wait()
        raise
