"""Comparisons of the tiny config of the tools' tests, and stand-ins for the tools."""

import json

import pytest
import torch
from test_tools.conftest import config, data_root  # noqa: F401  (fixtures)

from capnet_mm.comparison import runs as compare

UNTRAINED = "train_dataloader = train_cfg = optim_wrapper = None\n"
# Stand-ins for the tools, which note their command lines and do what FILE says.
FAKE_TRAIN = """
import json, shutil, sys
from pathlib import Path
tools = Path(__file__).parent
work_dir = Path(sys.argv[sys.argv.index("--work-dir") + 1])
with open(tools / "calls", "a") as file:
    file.write(json.dumps(["train", *sys.argv[1:]]) + "\\n")
epoch = int((tools / "reaches_epoch").read_text())
if epoch:
    shutil.copy(tools / f"epoch_{epoch}.pth", work_dir)
    (work_dir / "last_checkpoint").write_text(f"/gone/epoch_{epoch}.pth")
(work_dir / "now").mkdir(exist_ok=True)
(work_dir / "now" / "now.log").write_text("log")
sys.exit(0 if epoch == 2 else 3)
"""
FAKE_TEST = """
import json, sys
from pathlib import Path
tools = Path(__file__).parent
with open(tools / "calls", "a") as file:
    file.write(json.dumps(["test", *sys.argv[1:]]) + "\\n")
Path(sys.argv[sys.argv.index("--scores") + 1]).write_bytes(b"scores")
score = 60. if "--tta" in sys.argv else 50.
Path(sys.argv[sys.argv.index("--out") + 1]).write_text(
    json.dumps({"multi-label/mAP": score, "multi-label/mAP_head": float("nan")}))
"""


@pytest.fixture
def fake_tools(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "train.py").write_text(FAKE_TRAIN)
    (tools / "test.py").write_text(FAKE_TEST)
    for epoch in (1, 2):
        torch.save(dict(meta=dict(epoch=epoch, iter=3)), tools / f"epoch_{epoch}.pth")
    (tools / "reaches_epoch").write_text("2")
    return tools


def calls(tools):
    file = tools / "calls"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


@pytest.fixture
def plan(monkeypatch, config, tmp_path):  # noqa: F811
    """Plans a comparison in tmp_path; without names, of the tiny config."""

    def plan(*configs, tta=(), seeds=(0,), flags=(), options=()):
        monkeypatch.setenv("CAPNET_DATA_ROOT", "")
        monkeypatch.delenv("CAPNET_DATA_ROOT")
        configs = configs or (config,)
        return compare.plan_runs(configs, tta, seeds, tmp_path / "runs", flags, options)

    return plan


@pytest.fixture
def leaf(config, tmp_path):  # noqa: F811
    """Writes a config that inherits the tiny one."""

    def leaf(name, text):
        path = tmp_path / f"{name}.py"
        path.write_text(f"_base_ = '{config}'\n{text}")
        return str(path)

    return leaf
