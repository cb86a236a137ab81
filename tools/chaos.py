#!/usr/bin/env python
"""Break trainings, and see that nothing is lost: ``python tools/chaos.py kills``."""

import argparse
import contextlib
import importlib.util
import json
import multiprocessing
import os
import random
import re
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from capnet_mm.checkpoint import read_checkpoint  # noqa: E402
from capnet_mm.tables import Table  # noqa: E402

REPOSITORY = Path(__file__).resolve().parent.parent
NOTHING = "nothing"
PATIENCE = 600  # seconds until a process counts as hanging
MEGABYTE = 2**20


# CAPNET on the demo's CLIP, whose images have 96 pixels, with random crops and flips.
CONFIG = """
_base_ = ['{repository}/configs/capnet_custom.py']
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='RandomResizedCrop', scale=96),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs')]
test_pipeline = [
    dict(type='LoadImage'), dict(type='CenterCrop', crop_size=96),
    dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=4, num_workers={workers}, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, dataset=dict(pipeline=test_pipeline))
model = dict(
    clip=dict(model='local-dir:{repository}/configs/demo/clip', pretrained=None),
    head=dict(prompt=dict(num_context=4)))
train_cfg = dict(max_epochs={epochs}, val_interval={val_interval})
default_hooks = dict(logger=dict(interval=1))
{hooks}
"""
# Without statistics and report, so that more can be broken in the same time.
FEW_HOOKS = "custom_hooks = " + repr(
    [
        dict(type="ClassCountsHook"),
        dict(type="EpochSeedHook"),
        dict(type="FiniteLossHook"),
        dict(type="TrainableCheckpointHook"),
    ]
)


class Lost(Exception):
    """A training has lost something, or does not say what it should."""


class Site:
    """A folder of small images, and the trainings made on them.

    Args:
        folder (Path): Where everything is written.
        images (int): Number of training images; four a batch. Defaults to 40.
        **settings (Any): Values for ``CONFIG``.
    """

    def __init__(self, folder: Path, images: int = 40, **settings) -> None:
        self.folder, self.data = folder, folder / "data"
        _draw(self.data, images)
        defaults = dict(workers=0, val_interval=1, hooks=FEW_HOOKS)
        self.seconds = 0.0  # that a training takes, once one was made
        self.config = folder / "small.py"
        self.config.write_text(
            CONFIG.format(repository=REPOSITORY, **{**defaults, **settings})
        )

    @cached_property
    def expected(self) -> Path:
        """Work dir of a training to which no harm is done."""
        work_dir = self.folder / "uninterrupted"
        begin = time.monotonic()
        self.finish(work_dir, resume=False)
        self.seconds = time.monotonic() - begin
        return work_dir

    def start(
        self,
        work_dir: Path,
        resume: bool = False,
        rank: int | None = None,
        options: Sequence[str] = (),
    ) -> multiprocessing.Process:
        """Start a training in a process of its own, the leader of its group.

        Args:
            work_dir (Path): Its folder; ``<work_dir>.log`` has what it prints.
            resume (bool): Whether to go on from the latest checkpoint.
            rank (int, optional): Its number, if it is one of two. Defaults to None.
            options (Sequence[str]): Of ``--cfg-options``. Defaults to none.

        Returns:
            multiprocessing.Process: The process.
        """
        words = self.words(work_dir, resume)
        words += ["--launcher", "pytorch"] if rank is not None else []
        words += ["--cfg-options", *options] if options else []
        log = work_dir.with_suffix(f".{rank or 0}.log")
        process = multiprocessing.get_context("fork").Process(
            target=_train, args=(words, log, rank)
        )
        process.start()
        return process

    def words(self, work_dir: Path, resume: bool = False) -> list[str]:
        """Arguments of ``tools/train.py``."""
        words = [self.config, "--data-root", self.data, "--work-dir", work_dir]
        return [*map(str, words), *(["--resume"] if resume else [])]

    def finish(self, work_dir: Path, resume: bool = True) -> None:
        """Train to the end.

        Args:
            work_dir (Path): Folder of the run.
            resume (bool): Whether to go on from the latest checkpoint.
        """
        if code := wait(self.start(work_dir, resume)):
            raise Lost(f"resuming ended with {code}: {self.log(work_dir)[-2000:]}")

    def log(self, work_dir: Path, rank: int = 0) -> str:
        """What a training has printed."""
        return work_dir.with_suffix(f".{rank}.log").read_text()


def _draw(folder: Path, number: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = []
    for index in range(number):
        pixels = rng.integers(0, 200, (120, 130, 3), dtype=np.uint8)
        pixels[..., index % 3] += 30  # not too easy: the best epoch should change
        Image.fromarray(pixels).save(folder / f"{index}.jpg")
        lines.append(f"{index}.jpg {index % 3} {rng.integers(3)}\n")
    (folder / "classes.txt").write_text("red\ngreen\nblue\n")
    (folder / "train.txt").write_text("".join(lines))
    (folder / "val.txt").write_text("".join(lines[:8]))


def _train(words: list[str], log: Path, rank: int | None) -> None:
    """Become a training, as if started from a shell."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(REPOSITORY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    if rank is not None:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    sys.argv = ["tools/train.py", *words]
    runpy.run_path("tools/train.py", run_name="__main__")


# What is seen of a training ----------------------------------------------------------


def wait(process, seconds: float = PATIENCE) -> int:
    """Exit status of a process; one that hangs is an error."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise Lost(f"a training still ran after {seconds} s")
    return process.exitcode


def wait_for(condition: Callable[[], object], process, pause: float = 0.001) -> bool:
    """Whether a condition came true before the process ended."""
    while process.is_alive():
        if condition():
            return True
        time.sleep(pause)
    return False


def iteration(work_dir: Path) -> int:
    """Iterations of a training, as its latest start has logged them."""
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    steps = re.findall(r'"step": (\d+)', files[-1].read_text()) if files else []
    return int(steps[-1]) if steps else 0


def reach(process, work_dir: Path, goal: int, before: int = 0) -> bool:
    """Wait for an iteration of a training that was started ``before`` times before."""
    return wait_for(
        lambda: starts(work_dir) > before and iteration(work_dir) >= goal,
        process,
        pause=0.01,
    )


def starts(work_dir: Path) -> int:
    """How often a training was started and came to log something."""
    return len(list(work_dir.glob("*/vis_data/scalars.json")))


def check_files(work_dir: Path) -> None:
    """Every checkpoint can be read, and those that others speak of are there."""
    for path in work_dir.glob("*.pth"):
        read_checkpoint(str(path))
    note = work_dir / "last_checkpoint"
    if note.exists():
        last = read_checkpoint(note.read_text())
        best = last["message_hub"]["runtime_info"].get("best_ckpt")
        if best and not Path(best).exists():
            raise Lost(f"the best checkpoint {best} is gone")


def check_result(work_dir: Path, expected: Path) -> None:
    """A training has ended as another, bit for bit; the best checkpoint too."""
    names = {path.name for path in expected.glob("*.pth")}
    found = {path.name for path in work_dir.glob("*.pth")}
    if missing := names - found:
        raise Lost(f"{work_dir} lacks {sorted(missing)}, has {sorted(found)}")
    for name in names:
        left, right = (read_checkpoint(str(d / name)) for d in (expected, work_dir))
        for part in ("state_dict", "optimizer", "param_schedulers"):
            if part in left and not _equal(left[part], right[part]):
                raise Lost(f"{part} of {work_dir / name} differs")


def _equal(left, right) -> bool:
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(
            _equal(left[key], right[key]) for key in left
        )
    if isinstance(left, list | tuple):
        pairs = zip(left, right, strict=True)
        return all(_equal(one, other) for one, other in pairs)
    return left == right


def require(text: str, *patterns: str) -> None:
    """A message says what it should."""
    for pattern in patterns:
        if not re.search(pattern, text):
            raise Lost(f"no {pattern!r} in: {text[-3000:]}")


# Experiments -------------------------------------------------------------------------


def kill(site: Site, args: argparse.Namespace) -> str:
    """SIGKILL at random moments, every other one while a checkpoint is written."""
    dice, expected = random.Random(args.seed), site.expected
    killed = writing = runs = 0
    while killed < args.times:
        runs += 1
        work_dir = site.folder / f"killed{runs}"
        resume = False
        while True:
            halves = set(work_dir.glob(".*.pth.*.tmp"))  # of an earlier kill
            process = site.start(work_dir, resume)
            hit = killed < args.times and _kill(
                process, work_dir, dice, site.seconds, aimed=killed % 2 == 0
            )
            code = wait(process)
            if hit:
                killed += 1
                writing += bool(set(work_dir.glob(".*.pth.*.tmp")) - halves)
                check_files(work_dir)
                resume = True
            elif code:
                raise Lost(f"ended with {code}: {site.log(work_dir)[-2000:]}")
            else:
                break
        check_result(work_dir, expected)
        if list(work_dir.glob(".*.tmp")):
            raise Lost("what was half-written was not removed")
    return (
        f"{killed} kills, {writing} left a half-written file beside its name; {runs} "
        "trainings ended as the uninterrupted one"
    )


def _kill(process, work_dir: Path, dice, most: float, aimed: bool) -> bool:
    """Kill a training and its workers; False if it ended before."""
    end = time.monotonic() + dice.uniform(0, most)
    if aimed:
        started = time.time()

        def is_writing() -> bool:
            files = work_dir.glob(".*.pth.*.tmp")
            with contextlib.suppress(FileNotFoundError):  # renamed in between
                return any(path.stat().st_mtime > started for path in files)
            return False

        hit = wait_for(lambda: time.monotonic() > end and is_writing(), process, 0)
    else:
        hit = wait_for(lambda: time.monotonic() > end, process)
    if hit:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return hit and wait(process) == -signal.SIGKILL


def stop(site: Site, args: argparse.Namespace) -> str:
    """SIGTERM and SIGINT in turns, to the process or to its workers as well."""
    dice = random.Random(args.seed)
    stopped = within = runs = 0
    slowest = 0.0
    while stopped < args.times:
        runs += 1
        work_dir, resume = site.folder / f"stopped{runs}", False
        while stopped < args.times:
            before, process = starts(work_dir), site.start(work_dir, resume)
            goal = iteration(work_dir) + dice.randint(1, 9)
            if not reach(process, work_dir, goal, before):
                break
            number = (signal.SIGTERM, signal.SIGINT)[stopped % 2]
            send = os.killpg if stopped // 2 % 2 else os.kill
            begin = time.monotonic()
            send(process.pid, number)
            code = wait(process)
            if code == 0:
                break  # it had come to the end
            slowest = max(slowest, time.monotonic() - begin)
            if code != 128 + number:
                raise Lost(f"ended with {code}: {site.log(work_dir)[-2000:]}")
            stopped, resume = stopped + 1, True
            check_files(work_dir)
            within += _is_within_epoch(work_dir)
        site.finish(work_dir, resume=resume)
        check_result(work_dir, site.expected)
    if slowest > 10:
        raise Lost(f"the checkpoint took {slowest:.1f} s")
    return (
        f"{stopped} signals, {within} in mid-epoch, saved and ended within "
        f"{slowest:.1f} s; {runs} trainings ended as the uninterrupted one"
    )


def _is_within_epoch(work_dir: Path) -> bool:
    last = read_checkpoint((work_dir / "last_checkpoint").read_text())
    return bool(last["message_hub"]["runtime_info"]["position_in_epoch"][0])


def lose_process(site: Site, args: argparse.Namespace) -> str:
    """SIGKILL one of two gloo processes; SIGTERM one of two; resume both."""
    work_dir, expected = site.folder / "two", site.folder / "two_uninterrupted"
    for each in _start_two(site, expected):
        if wait(each):
            raise Lost(site.log(expected)[-2000:])
    slowest, resume = 0.0, False
    harm = [(1, signal.SIGKILL), (1, signal.SIGTERM), (0, signal.SIGKILL)]
    for victim, number in harm[: args.times]:
        before, goal = starts(work_dir), iteration(work_dir) + 2
        two = _start_two(site, work_dir, resume)
        reach(two[0], work_dir, goal, before)
        begin = time.monotonic()
        os.kill(two[victim].pid, number)
        codes = [wait(process) for process in two]
        slowest, resume = max(slowest, time.monotonic() - begin), True
        if number == signal.SIGTERM:
            if codes != [128 + number] * 2:
                raise Lost(f"ended with {codes}: {site.log(work_dir)[-2000:]}")
        else:
            log = site.log(work_dir, 1 - victim)
            require(log, rf"LostProcessError: Process {victim} of 2 has ended")
            if codes[1 - victim] != 1:
                raise Lost(f"ended with {codes}: {log[-2000:]}")
        check_files(work_dir)
    for each in _start_two(site, work_dir, resume):
        if wait(each):
            raise Lost(site.log(work_dir)[-2000:])
    check_result(work_dir, expected)
    return (
        "the other names it and ends, on SIGTERM both save; at most "
        f"{slowest:.1f} s; resumed, they end as uninterrupted ones"
    )


def _start_two(site: Site, work_dir: Path, resume: bool = False) -> list:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    os.environ.update(WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    return [site.start(work_dir, resume, rank) for rank in range(2)]


def kill_worker(site: Site, args: argparse.Namespace) -> str:
    """SIGKILL a process that loads images, as the system does when memory is short."""
    work_dir = site.folder / "killed_worker"
    process = site.start(work_dir, options=["train_dataloader.num_workers=2"])
    reach(process, work_dir, 3)
    of_process = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    os.kill(int(of_process.read_text().split()[-1]), signal.SIGKILL)
    return _after_error(site, work_dir, process, r"killed by signal: Killed")


def take_data_away(site: Site, args: argparse.Namespace) -> str:
    """The folder of the images vanishes in mid-epoch, and comes back."""
    work_dir = site.folder / "lost_data"
    process = site.start(work_dir)
    reach(process, work_dir, 3)
    away = site.data.rename(site.folder / "away")
    wait(process)
    away.rename(site.data)
    return _after_error(
        site, work_dir, process, r"FileNotFoundError: .*No such file.*jpg"
    )


def _after_error(site: Site, work_dir: Path, process, message: str) -> str:
    """The training ended with a message; resumed, it ends as another."""
    if (code := wait(process)) != 1:
        raise Lost(f"ended with {code}")
    require(site.log(work_dir), message, r"Training stops in epoch", r"with --resume")
    check_files(work_dir)
    site.finish(work_dir)
    check_result(work_dir, site.expected)
    return "a message and how to go on; resumed, it ends as the uninterrupted one"


# What the disk holds is copied before its namespace goes, and the disk with it.
_ON_A_SMALL_DISK = """
mount -t tmpfs -o size={size} tmpfs {disk}
{train} > {log} 2>&1
code=$?
cp -r {disk}/. {saved}
exit $code
"""


def fill_disk(site: Site, args: argparse.Namespace) -> str:
    """The work dir lies on a disk (tmpfs) that has no room for a third file."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        return "not tried: this system lets no user mount a tmpfs"
    disk, saved = site.folder / "disk", site.folder / "saved"
    disk.mkdir()
    saved.mkdir()
    last = Path((site.expected / "last_checkpoint").read_text())
    size = int(2.2 * last.stat().st_size)
    train = [sys.executable, "tools/train.py", *site.words(disk / "run")]
    log = site.folder / "saved.0.log"
    words = dict(size=size, disk=disk, saved=saved, train=shlex.join(train), log=log)
    script = _ON_A_SMALL_DISK.format(**words)
    code = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script], cwd=REPOSITORY
    ).returncode
    message = r"Cannot save the checkpoint .*: No space left .* is kept: .*epoch_\d.pth"
    if code != 1:
        raise Lost(f"ended with {code}")
    require(log.read_text(), message, "go on with --resume")
    work_dir = (saved / "run").rename(site.folder / "more_room")
    note = work_dir / "last_checkpoint"
    note.write_text(str(work_dir / Path(note.read_text()).name))  # on another disk now
    read_checkpoint(note.read_text())
    site.finish(work_dir)
    check_result(work_dir, site.expected)
    return "a message; with more room it ends as the uninterrupted one"


def soak(site: Site, args: argparse.Namespace) -> str:
    """A long training; its memory and its open files, from a quarter of it on."""
    epochs = args.iterations // 50
    folder = site.folder / "soak"
    settings = dict(workers=args.workers, epochs=epochs, val_interval=10, hooks="")
    site = Site(folder, 200, **settings)
    work_dir = folder / "soaked"
    process = site.start(work_dir)
    seen = []

    def look() -> bool:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, IndexError):
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            files = len(os.listdir(f"/proc/{process.pid}/fd"))
            size = pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE
            seen.append((iteration(work_dir), size, files))
        return False

    wait_for(look, process, pause=0.5)
    if code := wait(process):
        raise Lost(f"ended with {code}: {site.log(work_dir)[-2000:]}")
    (folder / "soak.json").write_text(json.dumps(seen))
    steps, sizes, files = np.array([s for s in seen if s[0] > args.iterations / 4]).T
    slope = np.polyfit(steps / 1000, sizes, 1)[0]
    slope_of_files = np.polyfit(steps / 1000, files, 1)[0]
    if slope > 20 or slope_of_files > 1:
        raise Lost(f"{slope:.1f} MB, {slope_of_files:.2f} files per 1,000 iterations")
    return (
        f"{int(steps[-1])} iterations: {slope:+.2f} MB and {slope_of_files:+.3f} open "
        f"files per 1,000; {sizes.min():.0f} to {sizes.max():.0f} MB, "
        f"{files.min():.0f} to {files.max():.0f} files"
    )


EXPERIMENTS = {
    "kills": kill,
    "stops": stop,
    "lost-process": lose_process,
    "killed-worker": kill_worker,
    "full-disk": fill_disk,
    "lost-data": take_data_away,
    "soak": soak,
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Break trainings of a small model, resume them, and compare what "
        "they end with to a training that nothing befell; fails if anything is lost"
    )
    parser.add_argument(
        "names",
        nargs="+",
        choices=[*EXPERIMENTS, "all"],
        metavar="NAME",
        help=f"what to do: {', '.join(EXPERIMENTS)}, or all",
    )
    parser.add_argument(
        "--times", type=int, default=50, help="of kills and stops; default: 50"
    )
    parser.add_argument(
        "--iterations", type=int, default=2000, help="of the soak; default: 2000"
    )
    parser.add_argument(
        "--epochs", type=int, default=6, help="of a training to break; default: 6"
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="of the data loader; default: 0"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the random moments; default: 0"
    )
    parser.add_argument("--folder", help="a new one to keep; default: a temporary one")
    return parser.parse_args()


def main() -> None:
    """Break, and print the table."""
    args = parse_args()
    importlib.import_module("mmpretrain.models")  # once: trainings are forked off
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)  # none of whose threads a fork would miss
    names = list(EXPERIMENTS) if "all" in args.names else args.names
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary).resolve()
        site = Site(folder, workers=args.workers, epochs=args.epochs)
        for name in names:
            try:
                rows.append((name, NOTHING, EXPERIMENTS[name](site, args)))
            except Lost as error:
                rows.append((name, "see the right", str(error)))
    print(Table(("what", "lost", "seen"), rows, align="lll").to_markdown())
    if any(lost != NOTHING for _, lost, _ in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
