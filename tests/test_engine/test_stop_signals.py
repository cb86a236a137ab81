import os
import signal
import threading
import time

import pytest
import torch
from conftest import run_python
from torch.utils.data import DataLoader

from capnet_mm.engine.stop_signals import StopSignals, spare_workers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_handlers_are_put_back(number):
    before = signal.getsignal(number)
    with StopSignals() as signals:
        assert signals.agreed() == 0
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # torchrun and Slurm may both send it
        assert signals.agreed() == number
    assert signal.getsignal(number) == before


def test_the_process_ends_at_once_where_nothing_is_to_be_saved():
    with pytest.raises(SystemExit) as stopped, StopSignals() as signals:
        signals.at_once = True
        os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.code == 143


def test_signals_that_nohup_ignores_stay_ignored(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.agreed() == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_changed():
    before, inside = signal.getsignal(signal.SIGTERM), []

    def work():
        with StopSignals():
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before]


class Pids(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return os.getpid()


def test_workers_outlive_a_signal_that_their_parent_has_yet_to_answer():
    loader = DataLoader(Pids(), num_workers=1, batch_size=1, prefetch_factor=1)
    spare_workers(loader)
    seen = []
    for (pid,) in loader:
        seen.append(int(pid))
        os.kill(int(pid), signal.SIGTERM)
        os.kill(int(pid), signal.SIGINT)
        time.sleep(0.01)
    assert len(seen) == 8 and len(set(seen)) == 1


def test_workers_that_are_left_do_not_keep_their_parent_from_ending():
    done = run_python(
        "from torch.utils.data import DataLoader\n"
        "from capnet_mm.engine.stop_signals import spare_workers\n"
        "loader = DataLoader(range(9), num_workers=2)\n"
        "spare_workers(loader)\n"
        "batches = iter(loader)\n"
        "next(batches)\n",
        timeout=60,
    )
    assert done.returncode == 0
    assert not done.stderr
