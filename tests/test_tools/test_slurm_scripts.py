"""The scripts for Slurm, with a stand-in for srun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import free_port

TOOLS = Path(__file__).resolve().parents[2] / "tools"

# Writes its arguments down, then starts as many tasks as they say.
SRUN = """#!{python}
import os, pathlib, subprocess, sys
pathlib.Path(__file__).with_name("asked").write_text("\\n".join(sys.argv[1:]))
own = [word for word in sys.argv[1:] if word.startswith("--")]
number = next(w.partition("=")[2] for w in own if w.startswith("--ntasks="))
command = sys.argv[sys.argv.index("python"):]
if os.environ.get("ASK_ONLY"):
    sys.exit()
tasks = [
    subprocess.Popen(command, env=dict(
        os.environ, SLURM_PROCID=str(rank), SLURM_NTASKS=number,
        SLURM_LOCALID=str(rank), SLURM_NODELIST="localhost"))
    for rank in range(int(number))
]
sys.exit(max(task.wait() for task in tasks))
"""


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in dict(
        srun=SRUN.format(python=sys.executable),
        scontrol="#!/bin/sh\necho 127.0.0.1\n",
    ).items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    def run(script, *args, **environment):
        python = Path(sys.executable).parent
        environment = dict(
            os.environ,
            OMP_NUM_THREADS="1",
            PORT=free_port(),
            PATH=f"{folder}:{python}:{os.environ['PATH']}",
            **environment,
        )
        done = subprocess.run(
            ["bash", TOOLS / script, *map(str, args)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return (folder / "asked").read_text().splitlines()

    return run


def test_tasks_of_srun_train_together_on_cpu(run, config, data_root, tmp_path):
    flags = ("--data-root", data_root)
    asked = run(
        "slurm_train.sh", "long", "my job", config, "a b", *flags, GPUS="2", GRES=""
    )
    # 12 images in 2 processes, 4 at a time: 2 iterations an epoch, 2 epochs.
    assert torch.load(tmp_path / "a b" / "epoch_2.pth")["meta"]["iter"] == 4
    assert asked[:6] == [
        "--partition=long",
        "--job-name=my job",
        "--ntasks=2",
        "--ntasks-per-node=2",
        "--cpus-per-task=5",
        "--kill-on-bad-exit=1",
    ]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["--gres=gpu:8", "--ntasks=8", "--ntasks-per-node=8"]),
        (dict(GPUS="4"), ["--gres=gpu:4", "--ntasks=4", "--ntasks-per-node=4"]),
        (
            dict(GPUS="16", GPUS_PER_NODE="4", SRUN_ARGS="--time=1:00 --mem=9G"),
            ["--gres=gpu:4", "--ntasks=16", "--ntasks-per-node=4"],
        ),
    ],
)
@pytest.mark.parametrize("checkpoint", ["none", "work dir/epoch_2.pth"])
def test_srun_is_asked_for_the_gpus_of_the_environment(
    run, environment, expected, checkpoint
):
    asked = run(
        "slurm_test.sh", "p", "j", "c.py", checkpoint, "--tta",
        ASK_ONLY="1", **environment,
    )  # fmt: skip
    assert asked[2:5] == expected
    more = environment.get("SRUN_ARGS", "").split()
    own = asked[7 : asked.index("python")]
    assert own == more
    named = [] if checkpoint == "none" else [checkpoint]
    rest = ["c.py", *named, "--launcher", "slurm", "--tta"]
    assert asked[asked.index("python") + 3 :] == rest
