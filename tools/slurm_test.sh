#!/usr/bin/env bash
# Test on a Slurm cluster with one process for each GPU; on CPU they talk through gloo.
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]
# CHECKPOINT may be `none`: the model as the config builds it. The environment says the
# rest, see tools/slurm_run.sh.
set -euo pipefail

if [ "$#" -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT|none" \
        "[arguments of tools/test.py]" >&2
    exit 2
fi
partition=$1
job_name=$2
positional=("$3")
if [ "$4" != none ]; then
    positional+=("$4")
fi
shift 4
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

exec bash "$tools/slurm_run.sh" "$partition" "$job_name" \
    test.py "${positional[@]}" --launcher slurm "$@"
