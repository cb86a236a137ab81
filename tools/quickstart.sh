#!/usr/bin/env bash
# From a fresh clone to a trained CAPNET and a report with images:
#   bash tools/quickstart.sh [--seeds N] [--ablation] [--verbose] [flags of compare.py]
#
#   --seeds N    train each model with N seeds, for mean ± standard deviation
#   --ablation   also the leaves of configs/demo/ablation
#   --verbose    show what pip says and the whole log of each run
#
# Makes a virtual environment in .venv, installs the package, and compares the configs
# of configs/demo. Run again after an interruption it goes on; run once more it reuses
# environment, data and finished trainings. It writes into this repository's folder
# only (.venv, .cache, data/shapes_lt, work_dirs/demo), beside pip's own cache and
# temporary files. Settings, in the environment:
#   PYTHON               the Python to use (3.10 or newer)
#   QUICKSTART_NEED_MB   free space that installing asks for, in MB
#   PIP_INDEX_URL, PIP_FIND_LINKS, …   where pip finds packages; see pip's manual
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    printf 'quickstart: %s\n' "$*" >&2
    exit 1
}

usage() { sed -n '2,/^set /{/^#/{s/^# \{0,1\}//p;};}' "${BASH_SOURCE[0]}"; }

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

# Sets $python to one that can make the environment.
find_python() {
    local candidate version old="" lacks_venv=""
    local candidates=(python3 python3.13 python3.12 python3.11 python3.10)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        command -v "$candidate" >/dev/null || continue
        version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' \
            2>/dev/null) || continue
        if ! is_new_enough "$candidate"; then
            old="$old $candidate ($version)"
        elif ! "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            lacks_venv=${lacks_venv:-$version}
        else
            python=$candidate
            return
        fi
    done
    if [ -n "$lacks_venv" ]; then
        fail "Python $lacks_venv cannot make virtual environments, its module venv or" \
            "ensurepip is missing. On Debian and Ubuntu: apt install" \
            "python$lacks_venv-venv (or python3-venv); then run this again."
    fi
    fail "no Python 3.10 or newer was found (found:${old:- none}). Install one, or" \
        "name it: PYTHON=/path/to/python3.12 bash tools/quickstart.sh"
}

for argument in "$@"; do
    if [ "$argument" = -h ] || [ "$argument" = --help ]; then
        usage
        exit
    fi
done

# The environment's own Python, once there is one. The rest is in Python.
python=.venv/bin/python
is_new_enough "$python" || find_python
exec "$python" tools/quickstart.py "$@"
