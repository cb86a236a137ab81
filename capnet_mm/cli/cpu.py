"""Running on processors: memory of the process, groups of processes."""

import ctypes
import logging
import os
import platform
import sys
from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.device import get_device

# glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Have the process keep the memory that tensors on a CPU give back.

    glibc returns blocks of more than 32 MB to the system as soon as they are free,
    and the system clears them page by page when the next layer asks for as much. A
    training step of a MobileNetV2 on 32 images spent half its time on that. The
    process then stays as large as it once was.

    Called by the tools; does nothing where there is an accelerator or another C
    library, or where the environment says something of malloc itself (``MALLOC_…``,
    ``GLIBC_TUNABLES``, ``LD_PRELOAD``).

    Returns:
        Whether malloc was told to keep freed memory.
    """
    chosen = [
        name
        for name in os.environ
        if name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD")
    ]
    if chosen or get_device() != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # No blocks of their own for large tensors, and nothing cut off the heap's end.
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))


def init_cpu_distributed(cfg: Config) -> None:
    """Join the processes of ``torchrun`` on a machine without accelerator.

    MMEngine's launcher selects a CUDA device first, which fails where there is
    none, and hands ``device_ids`` to DistributedDataParallel, which refuses them for
    a model on CPU. So the process group (gloo) is made here, before the runner, and
    the wrapper is told that there are no devices. Called by the tools alone:
    importing a package should not start a process group.

    Args:
        cfg (Config): The run; changed in place. Only ``launcher='pytorch'`` (and no
            accelerator) has an effect.

    Raises:
        ValueError: The process was not started by ``torchrun`` or the like.
    """
    if not _runs_on_cpu_processes(cfg):
        return
    missing = [
        name
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        if name not in os.environ
    ]
    if missing:
        raise ValueError(
            f"--launcher pytorch needs the environment variables {missing}, which "
            "torchrun sets: start with tools/dist_train.sh or tools/dist_test.sh."
        )
    wrapper = cfg.get("model_wrapper_cfg") or {}
    wrapper.setdefault("type", "MMDistributedDataParallel")
    wrapper.setdefault("device_ids", None)
    wrapper.setdefault("broadcast_buffers", False)
    wrapper.setdefault(
        "find_unused_parameters", cfg.get("find_unused_parameters", False)
    )
    cfg.model_wrapper_cfg = wrapper
    if not torch.distributed.is_initialized():
        options = cfg.get("env_cfg", {}).get("dist_cfg", {})
        timeout = options.get("timeout")
        torch.distributed.init_process_group(
            "gloo", timeout=timedelta(seconds=timeout) if timeout else None
        )


def leave_cpu_distributed(cfg: Config) -> None:
    """End a process of a gloo group whose work is done.

    PyTorch's gloo threads can abort a process while its interpreter shuts down
    ("terminate called without an active exception", seen in 3 of 14 runs of a
    ten-line script under load, and in 5 of 14 that destroyed the group first), and
    torchrun then reports a finished run as failed. So the processes wait for each
    other, write out what is buffered, and end without tearing the interpreter down.
    Called by the tools last; does nothing where :func:`init_cpu_distributed` did
    nothing.

    Args:
        cfg (Config): The run.
    """
    if not _runs_on_cpu_processes(cfg):
        return
    torch.distributed.barrier()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _runs_on_cpu_processes(cfg: Config) -> bool:
    """Whether ``torchrun`` started this run on a machine without accelerator."""
    return cfg.get("launcher") == "pytorch" and get_device() == "cpu"
