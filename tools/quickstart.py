"""What ``tools/quickstart.sh`` does once it has found a Python.

Standard library only: it makes the environment and installs into it, unless that has
been done, and leaves the rest to ``tools/compare.py``.
"""

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path

ROOT = Path.cwd()  # quickstart.sh has gone there
VENV = Path(".venv")
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "quickstart-complete"
CACHE = ROOT / ".cache"
PIP_LOG = CACHE / "quickstart-pip.log"

# MB, measured with the pinned versions: the environment takes 1.6 GB with PyTorch for
# CPU and 6.0 GB with PyTorch for CUDA; the rest is for downloads and the run.
NEED_MB_CPU = 3000
NEED_MB_CUDA = 10000

# Lines of pip's log that are shown when it has failed, and of its warnings at any time:
# some name a mirror's gaps package by package.
SHOWN_OF_PIP = 15
SHOWN_WARNINGS = 3

CONFIGS = (
    "configs/demo/zero_shot.py=zero-shot CLIP",
    "configs/demo/linear_probe.py=linear probe, BCE",
    "configs/demo/prompt_tuning.py=soft prompts alone",
    "configs/demo/capnet.py=CAPNET",
)

PIP_ADVICE = f"""\
- No network, or only through a proxy? Set HTTPS_PROXY=http://HOST:PORT, or
  PIP_INDEX_URL to your mirror of PyPI, and run this again.
- No network at all? On a machine with the same system and Python that has one:
      python3 -m pip download -d wheels -c constraints.txt . 'setuptools>=64' wheel
  copy the folder wheels here, and run
      PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels bash tools/quickstart.sh
- No space left on device? pip unpacks in $TMPDIR ({os.environ.get("TMPDIR", "/tmp")}) \
and caches in
  ~/.cache/pip; set TMPDIR and PIP_CACHE_DIR to folders with room.
What has been installed is kept; the same command goes on."""


def main() -> None:
    """Install what is missing, then compare."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    args, others = parser.parse_known_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        if not is_installed():
            make_environment(args.verbose)
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        sys.exit(130)
    compare(args.ablation, ["--verbose", *others] if args.verbose else others)


def is_installed() -> bool:
    """Whether the environment is complete, and of today's requirements."""
    if not STAMP.is_file() or STAMP.read_text() != fingerprint():
        return False
    return runs(
        "import importlib.util as u, sys\n"
        "sys.exit(not (u.find_spec('torch') and u.find_spec('capnet_mm')))"
    )


def runs(code: str) -> bool:
    """Whether the environment's Python is there and runs some code without failing."""
    try:
        command = [PYTHON, "-c", code]
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:  # there is none, or its base is gone
        return False


def fingerprint() -> str:
    """Of all that decides whether an installation is current."""
    contents = [Path(name).read_bytes() for name in ("constraints.txt", "setup.py")]
    return hashlib.sha256(b"\0".join([*contents, os.fsencode(ROOT)])).hexdigest()


def make_environment(verbose: bool) -> None:
    """Make the virtual environment and install the package.

    Args:
        verbose: Show what pip says, not only its warnings and errors.
    """
    check_space()
    STAMP.unlink(missing_ok=True)
    if not has_pip():
        name = Path(sys.executable).name
        print(f"Making the virtual environment {VENV} with {name}", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", VENV]).returncode == 0
        if not made or not has_pip():
            fail(
                f"{sys.executable} -m venv {VENV} has failed, see above. If {VENV} is "
                "of another Python or damaged, delete it and run this again."
            )
    print(f"Installing (some minutes; PyTorch is large); log: {PIP_LOG}", flush=True)
    if not run_pip(verbose):
        fail(f"pip could not install the packages; its message is above.\n{PIP_ADVICE}")
    STAMP.write_text(fingerprint())


def has_pip() -> bool:
    """Whether the environment's Python is new enough and has pip."""
    return runs("import pip, sys; sys.exit(sys.version_info < (3, 10))")


def check_space() -> None:
    """Stop if there is less free space than installing needs."""
    need = needed_mb()
    free = shutil.disk_usage(ROOT).free >> 20
    # What an interrupted installation has left counts as there.
    there = sum(
        os.lstat(os.path.join(folder, name)).st_size
        for folder, _, names in os.walk(VENV)
        for name in names
    )
    if free + (there >> 20) < need:
        fail(
            f"too little disk space: installing needs {need} MB, {ROOT} has {free} MB "
            "free. Make room; or, if this machine has no GPU, take the smaller PyTorch "
            f"({NEED_MB_CPU} MB): PIP_EXTRA_INDEX_URL=https://download.pytorch.org/"
            "whl/cpu bash tools/quickstart.sh; or set QUICKSTART_NEED_MB if you know "
            "better."
        )


def needed_mb() -> int:
    """Space for what pip will fetch: for Linux PyPI's PyTorch is the one for CUDA."""
    if own := os.environ.get("QUICKSTART_NEED_MB"):
        return int(own)
    names = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
    for_cpu = any("/whl/cpu" in os.environ.get(name, "") for name in names)
    return NEED_MB_CPU if for_cpu or sys.platform != "linux" else NEED_MB_CUDA


def run_pip(verbose: bool) -> bool:
    """Install the package.

    Args:
        verbose: Leave the terminal to pip. Else its output goes into a file: shown are
            the first warnings, on a terminal what it is at, and the end if it fails.

    Returns:
        Whether pip succeeded.
    """
    command = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["-c", "constraints.txt", "-e", "."]
    if verbose:
        return subprocess.run(command).returncode == 0
    CACHE.mkdir(exist_ok=True)
    last = deque(maxlen=SHOWN_OF_PIP)
    num_warnings = 0
    with (
        PIP_LOG.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as pip,
    ):
        try:
            for line in pip.stdout:
                log.write(line)
                last.append(line)
                show_status(line.strip())
                num_warnings += line.startswith("WARNING")
                if line.startswith("WARNING") and num_warnings <= SHOWN_WARNINGS:
                    show_status("")
                    print(line, end="", flush=True)
        except BaseException:
            pip.terminate()
            raise
    show_status("")
    if num_warnings > SHOWN_WARNINGS:
        more = num_warnings - SHOWN_WARNINGS
        print(f"… and {more} more warnings of pip, see its log", flush=True)
    if pip.returncode:
        print("".join(last), end="", flush=True)
    return pip.returncode == 0


def show_status(line: str) -> None:
    """Show on a terminal what pip is at, until the next line.

    Args:
        line: What pip says; '' clears the line.
    """
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        print(f"\r{'':{width}}\r{line[:width]}", end="", flush=True)


def compare(ablation: bool, flags: list[str]) -> None:
    """Become ``tools/compare.py``.

    Args:
        ablation: Compare the leaves of configs/demo/ablation too.
        flags: For ``tools/compare.py``.
    """
    # matplotlib, YAPF (which writes configs), PyTorch and Hugging Face cache in the
    # home directory or in /tmp unless told otherwise.
    os.environ["XDG_CACHE_HOME"] = str(CACHE)
    os.environ["MPLCONFIGDIR"] = str(CACHE / "matplotlib")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(CACHE / "torchinductor")
    (CACHE / "matplotlib").mkdir(parents=True, exist_ok=True)
    leaves = sorted(map(str, Path("configs/demo/ablation").glob("*.py")))
    command = [str(PYTHON), "tools/compare.py", *CONFIGS, *(leaves if ablation else ())]
    command += ["--tta", "configs/demo/capnet.py", "--images"]
    command += ["configs/demo/capnet.py", "--work-dir", "work_dirs/demo", *flags]
    os.execv(command[0], command)


def fail(text: str) -> None:
    """Say why this cannot go on, and stop."""
    sys.exit(f"quickstart: {text}")


if __name__ == "__main__":
    main()
