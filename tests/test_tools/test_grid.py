import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_comparison.conftest import calls, fake_tools  # noqa: F401  (a fixture)

from capnet_mm.evaluation import average_precision, read_scores

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SCRIPT = TOOLS / "grid.py"
# A training that is killed together with the grid after its first epoch.
KILLS = """
if int((tools / "kills").read_text()):
    import os, signal
    (tools / "kills").write_text("0")
    os.kill(os.getppid(), signal.SIGKILL)
    sys.exit(1)
"""


@pytest.fixture
def grid_file(config, tmp_path):
    path = tmp_path / "rates.py"
    path.write_text(
        f"configs = {{'tiny': {config!r}}}\n"
        "axes = [{'slow': {}, 'fast': {'optim_wrapper.optimizer.lr': 0.05}}]\n"
        "reference = 'tiny, fast'\n"
    )
    return str(path)


@pytest.fixture
def run_grid(grid_file, tmp_path, data_root):
    """Runs the tool in a process of its own, with the tools of a folder."""

    def run(tools, *flags):
        script = tools / SCRIPT.name
        if tools != TOOLS:
            shutil.copy(SCRIPT, script)
        work_dir = str(tmp_path / "runs")
        words = [grid_file, "--work-dir", work_dir, "--data-root", data_root, *flags]
        return subprocess.run(
            [sys.executable, str(script), *words],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])},
        )

    return run


def test_a_grid_that_was_killed_goes_on_and_repeats_nothing(
    run_grid,
    fake_tools,  # noqa: F811
    tmp_path,
):
    code = (fake_tools / "train.py").read_text()
    (fake_tools / "train.py").write_text(code.replace("sys.exit", KILLS + "sys.exit"))
    (fake_tools / "kills").write_text("1")
    (fake_tools / "reaches_epoch").write_text("1")
    flags = ("--cache-features", "some where", "--seeds", "5")
    killed = run_grid(fake_tools, *flags)
    assert killed.returncode == -signal.SIGKILL
    (first,) = calls(fake_tools)

    (fake_tools / "reaches_epoch").write_text("2")
    done = run_grid(fake_tools, *flags)
    assert "going on with training" in done.stdout
    resumed, tested, *others = calls(fake_tools)[1:]
    folder = tmp_path / "runs" / "tiny_slow" / "seed5"
    assert resumed[:4] == [*first[:2], "--resume", str(folder / "epoch_1.pth")]
    assert [call[0] for call in (tested, *others)] == ["test", "train", "test"]
    for call in calls(fake_tools):  # unknown flags are the tools'
        place = call.index("--cache-features")
        assert call[place + 1] == "some where"
        assert call[-1] == "randomness.seed=5"


def test_two_rates_are_trained_and_compared_image_by_image(run_grid, tmp_path):
    done = run_grid(TOOLS, "--cfg-options", "train_cfg.max_epochs=1")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs"
    weights, total = {}, {}
    for name in ("slow", "fast"):
        run = folder / f"tiny_{name}" / "seed0"
        weights[name] = torch.load(run / "epoch_1.pth")["state_dict"]["head.fc.bias"]
        found = read_scores(run / "scores.npz")
        total[name] = 100 * np.nanmean(average_precision(found.scores, found.targets))
        metrics = json.loads((run / "metrics.json").read_text())
        assert total[name] == pytest.approx(metrics["multi-label/mAP"])
    assert not torch.equal(weights["slow"], weights["fast"])

    report = json.loads((folder / "comparison.json").read_text())
    interval = report["paired"]["differences"]["tiny, slow"]["total"]
    difference = total["slow"] - total["fast"]
    assert interval["difference"] == pytest.approx(difference, abs=1e-4)
    assert report["paired"]["num_images"] == 6
    text = (folder / "comparison.md").read_text()
    assert f"| tiny, slow | {difference:+.1f} (" in text.replace("**", "")
    assert "Compared with tiny, fast" in (folder / "report.html").read_text()
    assert "test sets drawn" in done.stdout
