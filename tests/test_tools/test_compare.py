import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_comparison.conftest import UNTRAINED, leaf, plan  # noqa: F401  (fixtures)

from capnet_mm.comparison import runs as compare

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def test_two_seeds_are_trained_and_tested_by_the_tools_and_then_never_again(
    plan,  # noqa: F811
    config,
    data_root,
    tmp_path,
    monkeypatch,
    capsys,  # noqa: F811
):
    flags = ["--data-root", data_root]
    runs = plan(seeds=(0, 1), flags=flags)
    compare.check_runs(runs)
    for run in runs:
        compare.complete_run(run, TOOLS)

    weights, found = [], []
    for seed in (0, 1):
        folder = tmp_path / "runs" / "tiny" / f"seed{seed}"
        weights.append(torch.load(folder / "epoch_2.pth")["state_dict"])
        found.append(json.loads((folder / "metrics.json").read_text()))
        # The scores are those of the last epoch, of a run with this seed.
        log = "".join(path.read_text() for path in folder.glob("2*/*.log"))
        assert f"seed: {seed}" in log
        last = re.findall(r"Epoch\(val\) \[2\].* multi-label/mAP: (\S+)", log)
        assert last == [f"{found[-1]['multi-label/mAP']:.4f}"]
    assert any(not torch.equal(weights[0][k], weights[1][k]) for k in weights[0])

    # All is there: the command line tool only makes the table.
    def refuse(*args, **kwargs):
        raise AssertionError("nothing was left to do")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    command = [config, *flags, "--seeds", "2", "--work-dir", str(tmp_path / "runs")]
    main(monkeypatch, *command)
    totals = [scores["multi-label/mAP"] for scores in found]
    row = json.loads((tmp_path / "runs" / "comparison.json").read_text())["rows"][0]
    assert row["mean"]["total"] == pytest.approx(np.mean(totals))
    assert row["std"]["total"] == pytest.approx(np.std(totals, ddof=1))
    assert [run["mAP"]["total"] for run in row["runs"]] == totals
    assert all(run["training_seconds"] > 0 for run in row["runs"])
    assert row["mean"]["head"] is None  # twelve images: all classes are tail
    cell = f"{np.mean(totals):.1f} ± {np.std(totals, ddof=1):.1f}"
    assert cell in (tmp_path / "runs" / "comparison.md").read_text()
    page = (tmp_path / "runs" / "report.html").read_text()
    assert cell.replace("± ", "±&nbsp;") in page
    assert cell in capsys.readouterr().out


def main(monkeypatch, *command):
    monkeypatch.setattr(sys, "argv", ["compare.py", *command])
    script = TOOLS / "compare.py"
    exec(
        compile(script.read_text(), script, "exec"),
        dict(__name__="__main__", __file__=str(script)),
    )


def test_training_a_config_without_training_is_refused(leaf, run_tool):  # noqa: F811
    with pytest.raises(ValueError, match="nothing to train.*tools/test.py"):
        run_tool("train.py", leaf("zero_shot", UNTRAINED))
