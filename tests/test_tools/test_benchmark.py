import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TOOL = Path(__file__).resolve().parents[2] / "tools" / "benchmark.py"


def test_tool_prints_the_table_and_writes_the_rows(
    tiny_clip, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "rows.json"
    command = ["text-branch", "--clip", tiny_clip, "--classes", "3"]
    options = ["--rounds", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [str(TOOL), *command, *options])
    runpy.run_path(str(TOOL), run_name="__main__")
    assert "C = 3" in capsys.readouterr().out
    assert len(json.loads(out.read_text())["rows"]) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_tool_says_that_there_is_no_cuda_device(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(TOOL), "metric", "--device", "cuda"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(TOOL), run_name="__main__")
    assert "there is no CUDA device here" in capsys.readouterr().err


def test_tool_starts_in_a_process_of_its_own():
    """Nothing has imported this package, which makes torchvision importable, before."""
    command = [sys.executable, str(TOOL), "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
