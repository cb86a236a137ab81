import datetime
import os
import platform
from pathlib import Path

import pytest
import torch
from conftest import run_python
from mmengine.config import Config

from capnet_mm import cli
from capnet_mm.cli import cpu

REPOSITORY = Path(__file__).resolve().parents[2]


TOUCH_LARGE_TENSORS = """
import resource, sys, torch
from capnet_mm import cli
if sys.argv[1] == "keep":
    assert cli.keep_freed_memory()
def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def touch():
    torch.ones(25_000_000)
touch()
before = page_faults()
for _ in range(20):  # once or twice a small block may come into the way
    touch()
print(page_faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc's malloc")
@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_memory_that_large_tensors_gave_back_is_used_again(monkeypatch):
    spoken_for = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    for name in [name for name in os.environ if name.startswith(spoken_for)]:
        monkeypatch.delenv(name)
    kept, usual = (
        int(run_python(TOUCH_LARGE_TENSORS, mode).stdout.splitlines()[-1])
        for mode in ("keep", "leave")
    )
    assert usual > 800  # 2 GB in pages of at most 2 MB
    assert kept < usual / 5


def test_what_the_environment_says_of_malloc_is_left(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    assert cli.keep_freed_memory() is False


@pytest.fixture
def group(monkeypatch):
    """What is asked of torch.distributed, which is not really started."""
    asked = []
    monkeypatch.setattr(
        torch.distributed,
        "init_process_group",
        lambda backend, timeout=None: asked.append((backend, timeout)),
    )
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(cpu, "get_device", lambda: "cpu")
    return asked


def test_processes_on_cpu_join_through_gloo_without_devices(group):
    cfg = Config(
        dict(launcher="pytorch", env_cfg=dict(dist_cfg=dict(backend="nccl", timeout=9)))
    )
    cli.init_cpu_distributed(cfg)
    assert group == [("gloo", datetime.timedelta(seconds=9))]
    assert cfg.model_wrapper_cfg.type == "MMDistributedDataParallel"
    assert cfg.model_wrapper_cfg.device_ids is None


def test_a_wrapper_of_the_config_is_kept_on_cpu(group):
    wrapper = dict(type="Mine", find_unused_parameters=True)
    cfg = Config(dict(launcher="pytorch", model_wrapper_cfg=wrapper))
    cli.init_cpu_distributed(cfg)
    assert cfg.model_wrapper_cfg.type == "Mine"
    assert cfg.model_wrapper_cfg.find_unused_parameters is True
    assert cfg.model_wrapper_cfg.device_ids is None


def test_shards_of_fsdp_stay_on_cpu(group):
    strategy = dict(type="FSDPStrategy")
    cfg = Config(dict(launcher="pytorch", strategy=strategy))
    cli.init_cpu_distributed(cfg)
    assert cfg.strategy.model_wrapper.device_id == "cpu"
    cfg = Config(dict(launcher="pytorch", strategy=dict(type="DDPStrategy")))
    cli.init_cpu_distributed(cfg)
    assert "model_wrapper" not in cfg.strategy


@pytest.mark.parametrize(
    ("launcher", "device"),
    [("none", "cpu"), ("mpi", "cpu"), ("pytorch", "cuda"), ("slurm", "cuda")],
)
def test_other_launchers_and_accelerators_are_left_to_mmengine(
    group, monkeypatch, launcher, device
):
    monkeypatch.setattr(cpu, "get_device", lambda: device)
    cfg = Config(dict(launcher=launcher))
    cli.init_cpu_distributed(cfg)
    assert group == []
    assert "model_wrapper_cfg" not in cfg


def test_a_process_that_torchrun_did_not_start_is_told_so(group, monkeypatch):
    monkeypatch.delenv("RANK")
    with pytest.raises(ValueError, match="RANK.*dist_train.sh"):
        cli.init_cpu_distributed(Config(dict(launcher="pytorch")))
    assert group == []


@pytest.fixture
def task(group, monkeypatch, tmp_path):
    """The second of three Slurm tasks on two nodes, the first of its node."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    for name in names:
        monkeypatch.delenv(name)
    for name, value in dict(
        PROCID="1", NTASKS="3", LOCALID="0", NODELIST="node[4-5]"
    ).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\necho "$@" > "$0.asked"\necho node4; echo node5\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def joined(**dist_cfg):
        cfg = Config(dict(launcher="slurm", env_cfg=dict(dist_cfg=dist_cfg)))
        cli.init_cpu_distributed(cfg)
        assert cfg.model_wrapper_cfg.device_ids is None
        assert (tmp_path / "scontrol.asked").read_text() == (
            "show hostnames node[4-5]\n"
        )
        return {name: os.environ[name] for name in names}

    yield joined
    for name in names:  # monkeypatch puts back what was there
        os.environ.pop(name, None)


def test_tasks_of_slurm_join_at_their_first_node(group, task):
    assert task() == dict(
        RANK="1",
        WORLD_SIZE="3",
        LOCAL_RANK="0",
        MASTER_ADDR="node4",
        MASTER_PORT="29500",
    )
    assert group == [("gloo", None)]


def test_the_port_of_the_config_holds_for_slurm(task):
    assert task(port=31000)["MASTER_PORT"] == "31000"


def test_a_process_that_srun_did_not_start_is_told_so(group, task, monkeypatch):
    monkeypatch.delenv("SLURM_PROCID")
    with pytest.raises(ValueError, match="SLURM_PROCID.*slurm_train.sh"):
        task()
    assert group == []


def test_only_processes_of_a_gloo_group_end_without_shutting_down(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(torch.distributed, "barrier", lambda: ended.append("barrier"))
    monkeypatch.setattr("logging.shutdown", lambda: None)
    monkeypatch.setattr(cpu, "get_device", lambda: "cpu")
    cli.leave_cpu_distributed(Config(dict(launcher="none")))
    assert ended == []
    cli.leave_cpu_distributed(Config(dict(launcher="pytorch")))
    assert ended == ["barrier", 0]
    monkeypatch.setattr(cpu, "get_device", lambda: "cuda")
    cli.leave_cpu_distributed(Config(dict(launcher="pytorch")))
    assert ended == ["barrier", 0]
