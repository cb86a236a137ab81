#!/usr/bin/env bash
# Test on a Slurm cluster with one process for each GPU; on CPU they talk through gloo.
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]
# CHECKPOINT may be `none`: the model as the config builds it. The environment says the
# rest, as for tools/slurm_train.sh.
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

gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
gres=${GRES-gpu:$per_node}
export MASTER_PORT=${PORT:-29500}

# SRUN_ARGS is split into words.
# shellcheck disable=SC2086
exec srun \
    --partition="$partition" \
    --job-name="$job_name" \
    ${gres:+--gres="$gres"} \
    --ntasks="$gpus" \
    --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    python -u "$tools/test.py" "${positional[@]}" --launcher slurm "$@"
