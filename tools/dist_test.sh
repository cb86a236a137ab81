#!/usr/bin/env bash
# Test with several processes, one for each GPU; on CPU they talk through gloo.
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]
# CHECKPOINT may be `none`: the model as the config builds it.
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT|none PROCESSES [arguments of tools/test.py]" >&2
    exit 2
fi
positional=("$1")
if [ "$2" != none ]; then
    positional+=("$2")
fi
processes=$3
shift 3
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

exec python -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$processes" \
    "$tools/test.py" "${positional[@]}" --launcher pytorch "$@"
