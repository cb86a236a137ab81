"""``tools/run_tests.sh`` and ``.ci/run`` on a copy, with a stand-in for Python."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# Notes what it is told to do. Environments that it makes have the same stand-in.
PYTHON = """#!/usr/bin/env bash
echo "$@" >>"$CALLS"
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    echo "PATH='$(cd "$3/bin" && pwd)':\\$PATH" >"$3/bin/activate"
elif [ "$1 $2" = "-m pytest" ]; then
    exit "${TESTS_EXIT:-0}"
fi
"""
INSTALL = "-m pip install -c constraints.txt -e .[test]"
TEST = "-m pytest --numprocesses auto --maxprocesses 4 --dist worksteal"


@pytest.fixture
def machine(tmp_path):
    """Runs a script of a clone; returns the exit status and Python's calls."""
    clone, programs = tmp_path / "a clone", tmp_path / "bin"
    for name in (".ci/run", "tools/run_tests.sh"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, clone / name)
    programs.mkdir()
    (programs / "python3").write_text(PYTHON)
    (programs / "python3").chmod(0o755)
    calls = tmp_path / "calls"

    def run(script, *arguments, **environment):
        calls.write_text("")
        env = {**os.environ, "CALLS": str(calls), "CI_VENV": "", **environment}
        env["PATH"] = f"{programs}:{env['PATH']}"
        command = ["bash", str(clone / script), *arguments]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True)
        return done.returncode, calls.read_text().splitlines()

    return run


def test_one_command_makes_an_environment_installs_and_tests(machine):
    made = ["-m venv .venv", INSTALL, TEST]
    assert machine("tools/run_tests.sh") == (0, made)


def test_an_environment_that_is_there_is_taken(machine):
    machine("tools/run_tests.sh")
    again = machine("tools/run_tests.sh", "tests/test_tables.py", "-q")
    assert again == (0, [INSTALL, f"{TEST} tests/test_tables.py -q"])


def test_the_environment_may_be_elsewhere(machine, tmp_path):
    _, calls = machine("tools/run_tests.sh", CI_VENV=str(tmp_path / "venv"))
    assert calls[0] == f"-m venv {tmp_path / 'venv'}"


def test_failing_tests_fail_the_command(machine):
    assert machine("tools/run_tests.sh", TESTS_EXIT="1")[0] == 1


def test_ci_calls_the_same_command_in_a_new_environment_only(machine):
    assert machine(".ci/run") == (0, ["-m venv .venv", INSTALL, TEST])
    assert machine(".ci/run") == (2, [])
