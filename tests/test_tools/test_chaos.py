"""The short version of what ``tools/chaos.py`` does to trainings."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Signals, and processes that are lost, have tests of their own.
NAMES = ["kills", "killed-worker", "full-disk", "lost-data"]


def test_whatever_ends_a_training_costs_nothing():
    """The tool compares weights and files, and says what was lost."""
    done = subprocess.run(
        [sys.executable, "tools/chaos.py", *NAMES, "--times", "1", "--epochs", "2"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in NAMES:
        assert f"| {name} | nothing | " in done.stdout
    assert "| 1 kills" in done.stdout
