"""What the terminal shows of a real run, on a pipe and on a pseudo-terminal."""

import fcntl
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import warnings
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from capnet_mm.cli.console import prepare_console, show_warnings_only

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = "configs/demo/capnet.py"
# Few images, so few that some classes are in none: a warning of which users know.
OPTIONS = [
    "train_dataloader.dataset.indices=32",
    "val_dataloader.dataset.indices=120",
    "train_dataloader.num_workers=0",
    "val_dataloader.num_workers=0",
]
CONTROL = re.compile(r"\x1b\[\??[\d;]*[A-Za-z]")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    return tmp_path_factory.mktemp("shapes") / "shapes_lt"


@pytest.fixture(scope="module")
def command(data_root):
    def command(work_dir, *flags, options=()):
        words = [sys.executable, "tools/train.py", CONFIG, "--work-dir", str(work_dir)]
        words += ["--data-root", str(data_root), *flags]
        return [*words, "--cfg-options", *OPTIONS, *options]

    return command


def environment():
    names = ("COLUMNS", "PYTHONWARNINGS", "NO_COLOR", "FORCE_COLOR")
    kept = {key: value for key, value in os.environ.items() if key not in names}
    return dict(kept, PYTHONPATH=str(REPOSITORY), TERM="xterm", OMP_NUM_THREADS="1")


def on_pipe(command):
    """What a program says to a pipe, standard error included."""
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def on_terminal(command):
    """What a program sends to a terminal of 80 columns."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(), stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    sent = b""
    while True:
        try:
            part = os.read(mine, 4096)
        except OSError:  # the other side has gone
            break
        if not part:
            break
        sent += part
    os.close(mine)
    assert process.wait() == 0, sent.decode()
    return sent.decode()


def log_of(work_dir):
    (path,) = Path(work_dir).glob("*/*.log")
    return path.read_text()


def without_figures(log):
    """Lines of a log without what differs from run to run."""
    return [re.sub(r"\d[\d.:e/-]*", "#", line) for line in log.splitlines()]


@pytest.fixture(scope="module")
def piped(command, tmp_path_factory):
    """Output and work dir of a run."""
    work_dir = tmp_path_factory.mktemp("piped")
    return on_pipe(command(work_dir)), work_dir


@pytest.fixture(scope="module")
def verbose(command, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("verbose")
    return on_pipe(command(work_dir, "--verbose")), work_dir


def check_summary(lines, work_dir):
    """Fifteen epochs and twenty-four classes in at most forty lines."""
    assert len(lines) <= 40, "\n".join(lines)
    assert lines[0] == f"Training {CONFIG}"
    text = "\n".join(lines)
    assert "ShapesLT" in text and "32 to train, 120 to validate" in text
    assert re.search(r"classes +24 ", text)
    assert "134,600 of" in text and "on cpu" in text
    epochs = [line for line in lines if re.match(r"epoch +\d+/15  loss", line)]
    assert [int(line.split("/")[0].split()[1]) for line in epochs] == [*range(1, 16)]
    validated = [line for line in epochs if "mAP" in line]
    assert len(validated) == 3
    logged = re.findall(r"Epoch\(val\).*/mAP: (\d+\.\d\d)", log_of(work_dir))
    shown = [float(re.search(r"mAP (\S+)", line)[1]) for line in validated]
    assert shown == pytest.approx([*map(float, logged)], abs=0.011)
    assert text.count("dotted blue moon") == 1
    page = Path(work_dir, "report", "report.html").resolve()
    assert lines[-1].endswith(page.as_uri()) and page.is_file()


def test_on_a_pipe_a_run_is_summed_up_in_forty_lines(piped):
    output, work_dir = piped
    first, *lines = output.splitlines()
    assert "WARNING" in first and "Classes without any training image" in first
    check_summary(lines, work_dir)


def test_on_a_terminal_it_is_the_same_with_one_bar(command, piped, tmp_path):
    sent = on_terminal(command(tmp_path))
    assert "━" in sent
    lines = [
        CONTROL.sub("", line.rstrip("\r")).split("\r")[-1]
        for line in sent.rstrip("\n").split("\n")
    ]
    (start,) = (i for i, line in enumerate(lines) if line.startswith("Training"))
    above = " ".join(" ".join(lines[:start]).split())
    assert above.count("WARNING") == 1 and above.endswith("can teach them.")
    lines = lines[start:]
    assert len(lines) <= 40
    # At the end the bar is cleared by going up, which is not played here.
    bars = [line for line in lines if "━" in line]
    assert len(bars) <= 1
    check_summary([line for line in lines if "━" not in line], tmp_path)


def test_the_log_file_holds_all_that_verbose_shows(piped, verbose):
    quiet, work_dir = piped
    shown, verbose_dir = verbose
    log = log_of(work_dir)
    for text in ("System environment", "Config:", "paramwise_options", "lr: "):
        assert text in log and text in shown and text not in quiet
    assert log.count("striped orange triangle  ") == 3  # a table an evaluation
    assert without_figures(log.replace(str(work_dir), "DIR")) == without_figures(
        log_of(verbose_dir).replace(str(verbose_dir), "DIR")
    )
    # MMEngine's own output and nothing else: no line of the summary.
    assert "epoch  1/15" not in shown and f"Training {CONFIG}" not in shown


def test_no_false_line_is_shown(piped, verbose):
    for output in (piped[0], verbose[0]):
        assert "initialized randomly" not in output
        assert "do not match exactly" not in output
    for text in ("deprecated", "FileClient", "HardDiskBackend", "Using env variable"):
        assert text not in piped[0]


def test_quiet_shows_what_is_wrong_and_nothing_else(command, tmp_path):
    options = ["train_cfg.max_epochs=1", "log_level=DEBUG"]
    (line,) = on_pipe(command(tmp_path, "--quiet", options=options)).splitlines()
    assert "Classes without any training image" in line
    assert "Epoch(val) [1]" in log_of(tmp_path)


def test_only_the_main_process_speaks(command, tmp_path):
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    start += ["--nproc-per-node=2"]
    options = ["train_cfg.max_epochs=1"]
    python, *tool = command(tmp_path, "--launcher", "pytorch", options=options)
    lines = on_pipe([*start, *tool]).splitlines()
    for text in (f"Training {CONFIG}", "on cpu, 2 processes", "epoch 1/1", "Report,"):
        assert sum(text in line for line in lines) == 1


@pytest.fixture
def logger():
    logger = MMLogger("console", log_level="DEBUG")
    (handler,) = logger.handlers
    return logger, handler


def test_a_logger_keeps_a_higher_level_of_its_own(logger):
    logger, handler = logger
    show_warnings_only(logger)
    assert handler.level == logging.WARNING
    handler.setLevel(logging.ERROR)  # as MMEngine's in all processes but the first
    show_warnings_only(logger)
    assert handler.level == logging.ERROR


def test_deprecations_inside_dependencies_are_not_shown_and_others_are(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", [])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare_console("summary")
        for module in ("torch.cuda.amp", "torch", "my_model", "torchette.x"):
            warnings.warn_explicit("old", FutureWarning, "file.py", 1, module, {})
        warnings.warn_explicit("slow", UserWarning, "file.py", 2, "torch.nn", {})
    assert [str(each.message) for each in caught] == ["old", "old", "slow"]


def test_who_asks_python_for_warnings_gets_them(monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare_console("summary")
        warnings.warn_explicit("old", FutureWarning, "file.py", 1, "torch.cuda", {})
    assert len(caught) == 1
