#!/usr/bin/env bash
# Train on a Slurm cluster with one process for each GPU; on CPU they talk through gloo.
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]
# What the environment may say stands in tools/slurm_run.sh.
set -euo pipefail

if [ "$#" -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]" >&2
    exit 2
fi
partition=$1
job_name=$2
config=$3
work_dir=$4
shift 4
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

exec bash "$tools/slurm_run.sh" "$partition" "$job_name" \
    train.py "$config" --work-dir "$work_dir" --launcher slurm "$@"
