"""Requests to stop, which come as signals: heard now, answered at a good moment."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.util import Finalize
from types import FrameType

import torch
from mmengine.dist import all_reduce, get_world_size
from torch.utils.data import DataLoader

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Notes SIGTERM and SIGINT while it is entered, instead of ending the process.

    A cluster announces pre-emption by SIGTERM, Ctrl-C is SIGINT. Repetitions mean no
    more than the first: torchrun and Slurm may both hand the same one on. Signals that
    the process was told to ignore (``nohup``) stay ignored. Does nothing outside the
    main thread, where Python allows no handlers.
    """

    def __init__(self) -> None:
        self.received = 0  # number of the signal
        self.at_once = False  # whether the process may end wherever it is
        self._before: dict[signal.Signals, Callable] = {}

    def __enter__(self) -> "StopSignals":
        """Begin to listen."""
        self._process = os.getpid()
        if threading.current_thread() is threading.main_thread():
            for each in STOP_SIGNALS:
                before = signal.getsignal(each)
                if before is not signal.SIG_IGN:
                    self._before[each] = before or signal.SIG_DFL
                    signal.signal(each, self._receive)
        return self

    def __exit__(self, *_) -> None:
        """Put things as they were."""
        for each, before in self._before.items():
            signal.signal(each, before)
        self._before.clear()

    def agreed(self) -> int:
        """The signal that any process has received, the same answer in all of them.

        Returns:
            int: Its number; 0 for none.
        """
        if get_world_size() == 1:
            return self.received
        flag = torch.tensor(self.received)
        all_reduce(flag, op="max")
        return int(flag)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker that was forked, and will be ended by its parent
        self.received = number
        if self.at_once:
            raise SystemExit(128 + number)


def spare_workers(loader: DataLoader) -> None:
    """Have a data loader's workers ignore requests to stop; their parent ends them.

    Ctrl-C and Slurm send the signal to all processes, and a worker that ends first
    makes PyTorch raise an error in the parent, wherever the parent is. At its own end
    the parent kills workers that are left, for instance beside one that has failed:
    Python would ask them by SIGTERM, and wait forever.

    Args:
        loader (DataLoader): Changed in place, before its workers are started.
    """
    loader.worker_init_fn = partial(_ignore_stop_signals, loader.worker_init_fn)
    Finalize(None, _kill_workers, exitpriority=0)


def _kill_workers() -> None:
    # PyTorch's handler would take each of them for one that has failed.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _ignore_stop_signals(then: Callable | None, worker_id: int) -> None:
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    if then is not None:
        then(worker_id)
