"""Which process of a group has died, when talking to it has failed."""

import re
import time
from collections.abc import Iterator

from mmengine.dist import get_rank, get_world_size
from torch.distributed import distributed_c10d

# What gloo and NCCL raise are RuntimeErrors, which differ by their texts.
_OF_A_GROUP = re.compile(r"gloo|NCCL|Application timeout|Connection (closed|reset)")


class LostProcessError(RuntimeError):
    """Another process of the run has ended, or answers no more."""


def lost_processes(error: Exception, patience: float = 5.0) -> list[int]:
    """Find the processes that are gone after an error of communication.

    gloo and NCCL give at most an address and a port. Each process that has met the
    error signs in at the group's store; whoever has not done so after some seconds is
    gone. Process 0 is, if the store itself is: it holds the store, unless torchrun
    does, which stops all processes anyway.

    Args:
        error (Exception): What was raised.
        patience (float): Seconds to wait for the others. Defaults to 5.

    Returns:
        list[int]: Ranks; empty if the error is of another kind.
    """
    if get_world_size() == 1 or not _OF_A_GROUP.search(str(error)):
        return []
    missing = set(range(get_world_size())) - {get_rank()}
    end = time.monotonic() + patience
    for rank in _sign_in():
        missing.discard(rank)
        if not missing or time.monotonic() > end:
            return sorted(missing)
    return [0] if 0 in missing else sorted(missing)


def _sign_in() -> Iterator[int | None]:
    """Ranks that have signed in, again and again; ends when the store is gone."""
    store = distributed_c10d._get_default_store()
    try:
        store.set(f"has met an error: {get_rank()}", "")
        while True:
            for rank in range(get_world_size()):
                if store.check([f"has met an error: {rank}"]):
                    yield rank
            yield None
            time.sleep(0.1)
    except RuntimeError:  # PyTorch's DistError is one
        return
