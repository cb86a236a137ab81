import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--out-item", "metrics"), "--out-item needs --out"),
        (("--out", "scores.json"), "predictions go to a .pkl file"),
    ],
)
def test_output_flags_that_do_not_fit_are_refused(
    run_tool, config, capsys, flags, message
):
    with pytest.raises(SystemExit):
        run_tool("test.py", config, *flags)
    assert message in capsys.readouterr().err


def test_auto_scale_lr_needs_its_batch_size(run_tool, config, data_root):
    with pytest.raises(ValueError, match="base_batch_size"):
        run_tool(
            "train.py",
            *(config, "--data-root", data_root, "--auto-scale-lr"),
            options=["auto_scale_lr=None"],
        )


@pytest.mark.parametrize("script", ["dist_train.sh", "dist_test.sh"])
def test_distributed_scripts_explain_themselves(script):
    done = subprocess.run(["bash", TOOLS / script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage:" in done.stderr
