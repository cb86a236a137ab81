"""Two network namespaces stand for two machines with a cable between them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / "tools"
ADDRESSES = {
    f"capnet{os.getpid()}a": "10.213.7.1",
    f"capnet{os.getpid()}b": "10.213.7.2",
}


def ip(*args):
    return subprocess.run(["ip", *args], capture_output=True, text=True)


@pytest.fixture
def machines():
    """Names of two namespaces that see each other and nothing else."""
    if not shutil.which("ip") or ip("netns", "list").returncode:
        pytest.skip("no network namespaces: iproute2 is missing")
    (a, b), done = ADDRESSES, []
    try:
        for name in ADDRESSES:
            if error := ip("netns", "add", name).stderr:
                pytest.skip(f"no network namespaces: {error.strip()}")
            done.append(name)
        cable = f"link add name eth0 netns {a} type veth peer name eth0 netns {b}"
        if error := ip(*cable.split()).stderr:
            pytest.skip(f"no network between namespaces: {error.strip()}")
        for name, address in ADDRESSES.items():
            for command in (
                f"addr add {address}/24 dev eth0",
                "link set eth0 up",
                "link set lo up",
            ):
                assert ip("-n", name, *command.split()).returncode == 0
        yield list(ADDRESSES)
    finally:
        for name in done:
            ip("netns", "del", name)


def test_processes_of_two_machines_train_together(
    machines, config, data_root, tmp_path
):
    python = Path(sys.executable).parent
    started = []
    for rank, machine in enumerate(machines):
        environment = dict(
            os.environ,
            NNODES="2",
            NODE_RANK=str(rank),
            MASTER_ADDR=ADDRESSES[machines[0]],
            PORT="29500",  # each namespace has ports of its own
            GLOO_SOCKET_IFNAME="eth0",
            OMP_NUM_THREADS="1",
            PATH=f"{python}:{os.environ['PATH']}",
        )
        # Disks of their own, too.
        flags = ("--data-root", data_root, "--work-dir", tmp_path / machine)
        command = ["bash", TOOLS / "dist_train.sh", config, "1", *flags]
        command = ["ip", "netns", "exec", machine, *map(str, command)]
        with (tmp_path / f"{rank}.log").open("w") as log:
            started.append(
                subprocess.Popen(
                    command, env=environment, stdout=log, stderr=subprocess.STDOUT
                )
            )
    codes = [process.wait(timeout=300) for process in started]
    assert codes == [0, 0], "".join(p.read_text() for p in tmp_path.glob("*.log"))
    first, second = (tmp_path / machine for machine in machines)
    # 12 images in 2 processes, 4 at a time: 2 iterations an epoch, 2 epochs.
    assert torch.load(first / "epoch_2.pth")["meta"]["iter"] == 4
    assert not list(second.glob("*.pth"))
