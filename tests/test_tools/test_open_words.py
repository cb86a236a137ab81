"""tools/open_words.py: classes are left out of training and judged by their names."""

import importlib.util
import json
from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict

from capnet_mm.datasets import ImageListDataset

TOOL = Path(__file__).resolve().parents[2] / "tools" / "open_words.py"

MODEL = """
model = dict(
    _delete_=True,
    type='CLIPClassifier',
    clip=dict(model='{clip}'),
    backbone=dict(adapter=dict(type='AdaptFormer', bottleneck_dim=4)),
    head=dict(
        type='CorrelationPromptHead',
        classes=_base_.dataset,
        prompt=dict(init_words='a photo of a'),
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True)))
"""


@pytest.fixture
def clip_config(config, tiny_clip, tmp_path):
    path = tmp_path / "clip.py"
    path.write_text(f"_base_ = '{config}'\n" + MODEL.format(clip=tiny_clip))
    return path


def test_every_kth_class_is_left_out_and_ranked_by_its_name(
    run_tool, clip_config, data_root, tmp_path, capsys
):
    out, work_dir = tmp_path / "scores.json", tmp_path / "work"
    flags = ("--data-root", data_root, "--work-dir", work_dir, "--out", out)
    run_tool("open_words.py", clip_config, *flags, "--every", "2")
    content = json.loads(out.read_text())
    assert content["new_classes"] == ["green"]
    rows = content["scores"]
    assert list(rows) == [
        "zero-shot CLIP",
        "template, alone",
        "template, in the graph",
        "mean context, alone",
        "mean context, in the graph",
    ]
    trained = [row["trained"] for name, row in rows.items() if name != "zero-shot CLIP"]
    assert trained == [trained[0]] * 4  # they keep their embeddings
    assert all(0 < row["new"] <= 100 for row in rows.values())
    assert "left out of training: green" in capsys.readouterr().out
    seen = ImageListDataset(str(work_dir / "seen.json"), allow_outside=True)
    assert seen.metainfo["classes"] == ("red", "blue")
    assert seen.metainfo["class_counts"] == (4, 4) and len(seen) == 12


def test_unknown_labels_of_classes_that_stay_stay_unknown(data_root, tmp_path):
    spec = importlib.util.spec_from_file_location("open_words", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    names = ("red", "green", "blue")
    (tmp_path / "train.txt").write_text("0.png 0 ?1 ?2\n1.png 1 2\n2.png\n")
    dataset = dict(
        type="ImageListDataset",
        ann_file=str(tmp_path / "train.txt"),
        classes=names,
        data_prefix=data_root,
        pipeline=[],
    )
    cfg = Config(
        dict(
            work_dir=str(tmp_path),
            train_dataloader=dict(dataset=dataset),
            model=dict(head=dict()),
            default_hooks=dict(checkpoint=dict(save_best="auto")),
        )
    )
    tool.leave_out(cfg, ["green"])
    assert cfg.model.head.classes == ConfigDict(
        classes=["red", "blue"], prompt_names=["red", "blue"]
    )
    seen = ImageListDataset(cfg.train_dataloader.dataset.ann_file, allow_outside=True)
    scores = [seen.get_data_info(index)["gt_score"].tolist() for index in range(3)]
    assert scores == [[1, -1], [0, 1], [0, 0]]


def test_what_cannot_be_judged_is_refused(run_tool, config, data_root, tmp_path):
    flags = ("--data-root", data_root, "--work-dir", tmp_path / "work")
    with pytest.raises(ValueError, match="has no val_dataloader"):
        run_tool("open_words.py", config, *flags, options=["val_dataloader=None"])
    with pytest.raises(ValueError, match="new words need a CorrelationPromptHead"):
        run_tool("open_words.py", config, *flags)
    with pytest.raises(SystemExit):
        run_tool("open_words.py", config, *flags, "--every", "1")
