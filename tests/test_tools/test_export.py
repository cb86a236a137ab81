"""tools/export.py, and the example that needs nothing of this project."""

import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image
from sklearn.metrics import average_precision_score

from capnet_mm.apis import MultiLabelInferencer

EXAMPLE = REPOSITORY / "tools" / "onnx_example.py"
# Whatever is not ONNX Runtime, numpy or Pillow.
BLOCKED = ("torch", "torchvision", "capnet_mm", "mmpretrain", "mmengine", "cv2", "onnx")
ALONE = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({BLOCKED!r}))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
LABELS = ("0", "1 ?0", "2 0", "", "1 2", "0 ?2")


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory):
    """A checkpoint alone, and a list of pictures."""
    root = tmp_path_factory.mktemp("export")
    cfg = Config.fromfile(REPOSITORY / "configs/capnet_custom.py")
    classes = ("dog", "cat", "tv monitor")
    cfg.model.clip = dict(model=clips["timm"])
    cfg.model.head.update(classes=classes, prompt=dict(num_context=2))
    steps = cfg.test_dataloader.dataset.pipeline
    steps[1].scale = steps[2].crop_size = 32
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), root / "epoch_1.pth")
    rng = np.random.default_rng(0)
    lines = []
    for index, labels in enumerate(LABELS):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((60 + 5 * index, 50), 2)
        picture.save(root / f"{index}.png")
        lines.append(f"{index}.png {labels}\n")
    (root / "val.txt").write_text("".join(lines))
    return root


@pytest.fixture(scope="module")
def exported(trained):
    """The file, and what the tool printed."""
    tool = REPOSITORY / "tools" / "export.py"
    command = [sys.executable, tool, "epoch_1.pth", "--pictures", "0.png", "1.png"]
    environment = dict(os.environ, PYTHONPATH=str(REPOSITORY))
    done = subprocess.run(
        command, cwd=trained, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return trained / "export" / "end2end.onnx", done


def run_alone(*args):
    command = [sys.executable, "-c", ALONE, str(EXAMPLE), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_alone_reproduces_the_map(trained, exported):
    inferencer = MultiLabelInferencer(str(trained / "epoch_1.pth"), device="cpu")
    paths = [str(trained / f"{index}.png") for index in range(len(LABELS))]
    scores = np.stack([each["pred_scores"] for each in inferencer(paths)])
    expected = []
    for index in range(3):
        known = [f"?{index}" not in labels.split() for labels in LABELS]
        targets = np.array([str(index) in labels.split() for labels in LABELS])
        expected.append(average_precision_score(targets[known], scores[known, index]))
    printed = run_alone(exported[0], trained / "val.txt", "--root", trained)
    assert printed.splitlines()[-1] == f"mAP {100 * np.mean(expected):.2f}"


def test_the_command_that_the_tool_ends_with_names_what_a_picture_shows(
    trained, exported
):
    path, done = exported
    assert done.stderr == ""
    python, script, *arguments = shlex.split(done.stdout.splitlines()[-1])
    assert python == "python" and Path(script) == EXAMPLE
    shown = run_alone(*[trained / argument for argument in arguments])
    inferencer = MultiLabelInferencer(str(trained / "epoch_1.pth"), device="cpu")
    names = inferencer(str(trained / "0.png"))[0]["pred_class"]
    for name in ("dog", "cat", "tv monitor"):
        assert (name in shown) == (name in names)


def test_the_example_is_short_and_needs_three_packages():
    assert len(EXAMPLE.read_text().splitlines()) <= 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.pth", "--pictures", "a.jpg"), "error: There is no checkpoint"),
        (
            ("a.pth", "--pictures", "a.jpg", "--format", "torch_export", "--int8"),
            "--int8 needs --format onnx",
        ),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line(
    monkeypatch, capsys, arguments, message
):
    monkeypatch.setattr(sys, "argv", ["export.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(REPOSITORY / "tools" / "export.py"), run_name="__main__")
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
