"""``tools/predict.py`` on a checkpoint alone, with output for people and programs."""

import csv
import json
import os
import runpy
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image

CLASSES = ("dog", "cat", "tv")
TOOL = REPOSITORY / "tools" / "predict.py"
GROUPS = dict(head=(0,), medium=(1,), tail=(2,))


@pytest.fixture(scope="module")
def setting(clips, tmp_path_factory):
    """A checkpoint alone in a folder, of a CLIP that has been moved since, pictures."""
    root = tmp_path_factory.mktemp("predict")
    cfg = Config.fromfile(REPOSITORY / "configs/demo/capnet.py")
    cfg.model.clip.model = clips["vit"]
    cfg.model.backbone = dict(type="CLIPBackbone")
    cfg.model.head.classes = dict(classes=CLASSES)
    for step in cfg.test_pipeline[1:3]:
        step.update({key: 32 for key in step if key != "type"})
    cfg.test_dataloader.dataset.pipeline = cfg.test_pipeline
    state = MODELS.build(cfg.model).state_dict()
    cfg.model.clip.model = "local-dir:/moved/away"
    cfg.model.head.classes = dict(type="ImageListDataset", data_root="/moved/away")
    meta = dict(dataset_meta=dict(classes=CLASSES, groups=GROUPS), cfg=cfg.pretty_text)
    (root / "alone").mkdir()
    torch.save(dict(state_dict=state, meta=meta), root / "alone" / "epoch_1.pth")
    (root / "pictures" / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg", "sub/a.png"):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "pictures" / name)
    return SimpleNamespace(
        folder=root / "alone", pictures=root / "pictures", clip=clips["vit"]
    )


@pytest.fixture
def predict(setting, monkeypatch, capsys):
    """Runs the tool in the folder of the checkpoint: status, output, errors."""

    def run(*arguments):
        module = runpy.run_path(str(TOOL))
        monkeypatch.chdir(setting.folder)
        monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, arguments)])
        status = 0
        try:
            module["main"]()
        except SystemExit as ended:
            status = ended.code
        return status, *capsys.readouterr()

    return run


def test_a_checkpoint_alone_gives_json_lines_and_no_noise(setting):
    arguments = [setting.pictures, "--clip", setting.clip, "--topk", "2"]
    done = subprocess.run(
        [sys.executable, TOOL, "epoch_1.pth", *arguments],
        cwd=setting.folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stderr == ""
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    names = [os.path.relpath(line["img_path"], setting.pictures) for line in lines]
    assert names == ["a.png", "b.jpg", "sub/a.png"]
    for line in lines:
        order = np.argsort(-np.array(line["pred_scores"]))[:2]
        assert line["pred_class"] == [CLASSES[i] for i in order]
        assert line["pred_group"] == [["head", "medium", "tail"][i] for i in order]
    assert [path.name for path in setting.folder.iterdir()] == ["epoch_1.pth"]


def test_without_its_clip_one_sentence_says_what_to_give(setting, predict):
    status, output, errors = predict("epoch_1.pth", setting.pictures)
    assert status == 2 and output == ""
    assert errors.startswith("error: ") and "--clip" in errors
    assert len(errors.splitlines()) == 1


def test_a_reader_that_has_seen_enough_is_no_error(setting):
    arguments = f"{setting.folder}/epoch_1.pth {setting.pictures}/* --batch-size 1"
    program = f"{sys.executable} {TOOL} {arguments} --clip {setting.clip}"
    done = subprocess.run(
        ["bash", "-c", f"{program} | head -1"], capture_output=True, text=True
    )
    assert len(done.stdout.splitlines()) == 1 and done.stderr == ""


def test_broken_pictures_are_reported_and_the_exit_status_is_1(
    setting, predict, tmp_path
):
    pictures = tmp_path / "pictures"
    shutil.copytree(setting.pictures, pictures)
    (pictures / "b.jpg").write_bytes((pictures / "b.jpg").read_bytes()[:200])
    out = tmp_path / "out.csv"
    status, output, errors = predict(
        "epoch_1.pth",
        pictures,
        *("--clip", setting.clip, "--out", out, "--draw", tmp_path / "drawn"),
        *("--threshold", '{"dog": 0.0}'),
    )
    assert status == 1 and output == ""
    assert errors == "Pictures that could not be read: 1.\n"
    with open(out, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert ["Cannot decode" in row["error"] for row in rows] == [False, True, False]
    assert all("dog" in row["label"].split(",") for row in rows[::2])
    drawn = {path.name for path in (tmp_path / "drawn").iterdir()}
    assert drawn == {"a.png", "a_2.png"}


def test_a_terminal_shows_a_table(setting, predict, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    arguments = ("--clip", setting.clip, "--classes", "a bus", "grass")
    status, output, _ = predict("zero-shot", setting.pictures, *arguments)
    assert status == 0
    assert "picture" in output and "score" in output and "pred_scores" not in output


@pytest.mark.parametrize(
    "wrong, message",
    [
        (["--threshold", "low"], "--threshold low: expected a number"),
        (["--out", "a.txt"], "ends in .jsonl or .csv"),
    ],
)
def test_arguments_that_cannot_be_have_status_2(setting, predict, wrong, message):
    arguments = ("epoch_1.pth", setting.pictures, "--clip", setting.clip)
    status, _, errors = predict(*arguments, *wrong)
    assert status == 2 and message in errors
