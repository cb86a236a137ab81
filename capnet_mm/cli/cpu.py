"""Running on processors: memory of the process, groups of processes."""

import ctypes
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.device import get_device

# glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4

# What torchrun and Slurm call the same thing.
_OF_SLURM = {
    "RANK": "SLURM_PROCID",
    "WORLD_SIZE": "SLURM_NTASKS",
    "LOCAL_RANK": "SLURM_LOCALID",
}


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
    """Join the processes of ``torchrun`` or ``srun`` on machines without accelerator.

    MMEngine's launchers select a CUDA device first, which fails where there is
    none, and hand ``device_ids`` to DistributedDataParallel, which refuses them for
    a model on CPU. So the process group (gloo) is made here, before the runner, and
    the wrapper is told that there are no devices. Called by the tools alone:
    importing a package should not start a process group.

    Args:
        cfg (Config): The run; changed in place. Only the launchers ``'pytorch'`` and
            ``'slurm'`` (and no accelerator) have an effect.

    Raises:
        ValueError: The process was not started by ``torchrun`` or ``srun``.
    """
    if not _runs_on_cpu_processes(cfg):
        return
    if cfg.launcher == "slurm":
        _require("slurm", "srun", "slurm", _OF_SLURM.values())
        _name_as_torchrun(cfg)
    _require("pytorch", "torchrun", "dist", (*_OF_SLURM, "MASTER_ADDR", "MASTER_PORT"))
    wrapper = cfg.get("model_wrapper_cfg") or {}
    wrapper.setdefault("type", "MMDistributedDataParallel")
    wrapper.setdefault("device_ids", None)
    wrapper.setdefault("broadcast_buffers", False)
    wrapper.setdefault(
        "find_unused_parameters", cfg.get("find_unused_parameters", False)
    )
    cfg.model_wrapper_cfg = wrapper
    if cfg.get("strategy", {}).get("type") == "FSDPStrategy":
        # Else MMEngine has PyTorch look for a CUDA device of the process's number.
        shards = cfg.strategy.get("model_wrapper") or {}
        cfg.strategy.model_wrapper = {"device_id": "cpu", **shards}
    if not torch.distributed.is_initialized():
        options = cfg.get("env_cfg", {}).get("dist_cfg", {})
        timeout = options.get("timeout")
        torch.distributed.init_process_group(
            "gloo", timeout=timedelta(seconds=timeout) if timeout else None
        )


def _require(
    launcher: str, starter: str, script: str, variables: Iterable[str]
) -> None:
    missing = [name for name in variables if name not in os.environ]
    if missing:
        raise ValueError(
            f"--launcher {launcher} needs the environment variables {missing}, which "
            f"{starter} sets: start with tools/{script}_train.sh or "
            f"tools/{script}_test.sh."
        )


def _name_as_torchrun(cfg: Config) -> None:
    """Set what torchrun would set from what Slurm sets, as MMEngine does for GPUs."""
    for name, of_slurm in _OF_SLURM.items():
        os.environ[name] = os.environ[of_slurm]
    if "MASTER_ADDR" not in os.environ:
        command = ["scontrol", "show", "hostnames", os.environ["SLURM_NODELIST"]]
        hosts = subprocess.run(command, check=True, capture_output=True, text=True)
        os.environ["MASTER_ADDR"] = hosts.stdout.split()[0]
    port = cfg.get("env_cfg", {}).get("dist_cfg", {}).get("port")
    if port is not None:
        os.environ["MASTER_PORT"] = str(port)
    os.environ.setdefault("MASTER_PORT", "29500")


def leave_cpu_distributed(cfg: Config, code: int = 0) -> None:
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
        code (int): Exit status. Defaults to 0.
    """
    if not _runs_on_cpu_processes(cfg):
        return
    torch.distributed.barrier()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _runs_on_cpu_processes(cfg: Config) -> bool:
    """Whether several processes of this run were started where no accelerator is."""
    return cfg.get("launcher") in ("pytorch", "slurm") and get_device() == "cpu"
