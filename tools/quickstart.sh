#!/usr/bin/env bash
# From a fresh clone to a trained CAPNET and a report with pictures:
#   bash tools/quickstart.sh [--seeds N] [--ablation] [flags of tools/compare.py]
#
#   --seeds N    train each model with N seeds, for mean ± standard deviation
#   --ablation   also the leaves of configs/demo/ablation
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
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

venv=.venv
stamp=$venv/quickstart-complete

# Measured with the pinned versions: the environment takes 1.6 GB with PyTorch for CPU
# and 6.0 GB with PyTorch for CUDA; the rest is for downloads and the run.
need_mb_cpu=3000
need_mb_cuda=10000

say() { printf '%s\n' "$*"; }
fail() {
    printf 'quickstart: %s\n' "$*" >&2
    exit 1
}
trap 'say "Stopped; the same command goes on from here." >&2; exit 130' INT TERM

usage() { sed -n '2,/^set /{/^#/{s/^# \{0,1\}//p;};}' "${BASH_SOURCE[0]}"; }

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

# Sets $python.
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

# What pip will fetch decides how much space is needed: for Linux PyPI's PyTorch is the
# one for CUDA.
needed_mb() {
    if [ -n "${QUICKSTART_NEED_MB:-}" ]; then
        say "$QUICKSTART_NEED_MB"
    elif [ "$(uname -s)" != Linux ] ||
        [[ "${PIP_INDEX_URL:-}${PIP_EXTRA_INDEX_URL:-}" == */whl/cpu* ]]; then
        say "$need_mb_cpu"
    else
        say "$need_mb_cuda"
    fi
}

check_space() {
    local need free there=0
    need=$(needed_mb)
    free=$(($(df -Pk . | awk 'NR == 2 { print $4 }') / 1024))
    # What an interrupted installation has left counts as there.
    [ -d "$venv" ] && there=$(($(du -sk "$venv" | awk '{ print $1 }') / 1024))
    if [ "$((free + there))" -lt "$need" ]; then
        fail "too little disk space: installing needs $need MB, $root has $free MB" \
            "free. Make room; or, if this machine has no GPU, take the smaller PyTorch" \
            "($need_mb_cpu MB): PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu" \
            "bash tools/quickstart.sh; or set QUICKSTART_NEED_MB if you know better."
    fi
}

# Of all that decides whether an installation is current.
fingerprint() { { cat constraints.txt setup.py && pwd; } | cksum; }

is_installed() {
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ] &&
        "$venv/bin/python" -c 'import importlib.util as u, sys
sys.exit(not (u.find_spec("torch") and u.find_spec("capnet_mm")))' 2>/dev/null
}

make_environment() {
    find_python
    check_space
    rm -f "$stamp"
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        say "Making the virtual environment $venv with $python"
        "$python" -m venv "$venv" ||
            fail "$python -m venv $venv has failed, see above. If $venv is of another" \
                "Python or damaged, delete it and run this again."
    fi
    is_new_enough "$venv/bin/python" ||
        fail "$venv is of a Python older than 3.10: delete it and run this again."
    say "Installing (some minutes; PyTorch is large)"
    "$venv/bin/python" -m pip install --disable-pip-version-check \
        -c constraints.txt -e . || explain_pip_failure
    fingerprint >"$stamp"
}

explain_pip_failure() {
    fail "pip could not install the packages; its message is above.
- No network, or only through a proxy? Set HTTPS_PROXY=http://HOST:PORT, or
  PIP_INDEX_URL to your mirror of PyPI, and run this again.
- No network at all? On a machine with the same system and Python that has one:
      python3 -m pip download -d wheels -c constraints.txt . 'setuptools>=64' wheel
  copy the folder wheels here, and run
      PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels bash tools/quickstart.sh
- No space left on device? pip unpacks in \$TMPDIR (${TMPDIR:-/tmp}) and caches in
  ~/.cache/pip; set TMPDIR and PIP_CACHE_DIR to folders with room.
What has been installed is kept; the same command goes on."
}

ablation=""
arguments=()
while [ "$#" -gt 0 ]; do
    case $1 in
        --ablation) ablation=yes ;;
        -h | --help)
            usage
            exit
            ;;
        *) arguments+=("$1") ;;
    esac
    shift
done

configs=(configs/demo/zero_shot.py='zero-shot CLIP'
    configs/demo/linear_probe.py='linear probe, BCE'
    configs/demo/prompt_tuning.py='soft prompts alone'
    configs/demo/capnet.py=CAPNET)
if [ -n "$ablation" ]; then
    configs+=(configs/demo/ablation/*.py)
fi

if is_installed; then
    say "The environment $venv is complete"
else
    make_environment
fi

# matplotlib, YAPF (which writes configs), PyTorch and Hugging Face cache in the home
# directory or in /tmp unless told otherwise.
export XDG_CACHE_HOME=$root/.cache
export MPLCONFIGDIR=$XDG_CACHE_HOME/matplotlib
export TORCHINDUCTOR_CACHE_DIR=$XDG_CACHE_HOME/torchinductor
mkdir -p "$MPLCONFIGDIR"

exec "$venv/bin/python" tools/compare.py "${configs[@]}" \
    --tta configs/demo/capnet.py --pictures configs/demo/capnet.py \
    --work-dir work_dirs/demo ${arguments[@]+"${arguments[@]}"}
