#!/usr/bin/env bash
# Run a tool on a Slurm cluster; what slurm_train.sh and slurm_test.sh have in common.
#   tools/slurm_run.sh PARTITION JOB_NAME TOOL [arguments of the tool]
# TOOL is train.py or test.py. Set in the environment: GPUS, processes in all (8);
# GPUS_PER_NODE (8, or GPUS if that is less); CPUS_PER_TASK (5); PORT (29500); GRES, what
# each node must have (gpu:GPUS_PER_NODE; empty for CPU); SRUN_ARGS, more of srun's
# arguments.
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: $0 PARTITION JOB_NAME TOOL [arguments of the tool]" >&2
    exit 2
fi
partition=$1
job_name=$2
tool=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/$3
shift 3

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
    python -u "$tool" "$@"
