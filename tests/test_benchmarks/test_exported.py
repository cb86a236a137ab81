import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image

from benchmarks import exported

from .conftest import run


def test_a_checkpoint_is_measured_in_three_forms(clips, tmp_path):
    classes = ["dog", "cat"]
    pipeline = [
        dict(type="LoadImage"),
        dict(type="FastResizeEdge", scale=32),
        dict(type="CenterCrop", crop_size=32),
        dict(type="PackInputs"),
    ]
    head = dict(classes=classes, prompt=dict(num_context=2))
    model = dict(
        type="CLIPClassifier", clip=dict(model=clips["vit"]), backbone={}, head=head
    )
    cfg = Config(dict(model=model, test_pipeline=pipeline))
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=classes))
    state = MODELS.build(cfg.model).state_dict()
    torch.save(dict(state_dict=state, meta=meta), tmp_path / "epoch_1.pth")
    for index in range(4):
        Image.fromarray(
            np.random.default_rng(index).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        ).save(tmp_path / f"{index}.png")
    (tmp_path / "val.txt").write_text("0.png 0\n1.png 1 ?0\n2.png 0 1\n3.png\n")

    options = ("--checkpoint", str(tmp_path / "epoch_1.pth"))
    options += ("--list", str(tmp_path / "val.txt"), "--batch-size", "2")
    (row,) = run(exported, "ViT-B-16", *options)
    assert set(row.timings) == {"PyTorch", "ONNX float32", "ONNX int8"}
    assert row.max_difference < 1e-4
    scores = [
        float(each.rpartition(" ")[2])
        for each in row.note.partition(": ")[2].partition(";")[0].split(", ")
    ]
    assert scores[0] == scores[1] and min(scores) > 0
