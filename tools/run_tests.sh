#!/usr/bin/env bash
# All tests, in an environment made for them:
#   bash tools/run_tests.sh [arguments of pytest]
#
# Makes the virtual environment .venv, or takes the one that is there, installs the
# package with the pinned versions, and runs pytest. Settings, in the environment:
#   CI_VENV          another place for the virtual environment
#   PYTHON           the Python to make it with (3.10 or newer); default: python3
#   OMP_NUM_THREADS  threads of PyTorch in each of the processes; default: 1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${CI_VENV:-.venv}
# A process for each core, four at most; more threads only get into each other's way.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
. "$venv/bin/activate"
python -m pip install -c constraints.txt -e ".[test]"
exec python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal "$@"
