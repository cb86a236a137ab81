import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from mmpretrain.registry import MODELS
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from capnet_mm.evaluation import read_scores


@pytest.fixture
def own_images(tmp_path):
    """Twelve images of three classes, each of which has a colour; one label unknown."""
    random = np.random.default_rng(0)
    lines = []
    for index in range(12):
        pixels = random.integers(0, 130, (32, 32, 3), dtype=np.uint8)
        pixels[..., index % 3] += 60
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        lines.append(f"{index}.png {index % 3}{' ?2' if index == 3 else ''}")
    (tmp_path / "classes.txt").write_text("red\ngreen\nblue\n")
    (tmp_path / "train.txt").write_text("\n".join(lines))
    (tmp_path / "val.txt").write_text("\n".join(lines[4:]))
    return tmp_path


def test_scores_are_those_of_scikit_learns_pipeline_on_the_towers_features(
    run_tool, own_images, clips, tmp_path
):
    scores, out = tmp_path / "scores.npz", tmp_path / "out.json"
    run_tool(
        "logistic_regression.py",
        REPOSITORY / "configs" / "baselines" / "linear_probe.py",
        *("--data-root", own_images, "--clip", clips["vit"], "--strength", "0.1"),
        *("--out", out, "--scores", scores, "--work-dir", tmp_path / "work"),
        options=[
            "model.clip.pretrained=None",
            "test_dataloader.num_workers=0",
            "test_dataloader.dataset.pipeline.1.scale=32",
            "test_dataloader.dataset.pipeline.2.crop_size=32",
        ],
    )
    backbone = dict(type="CLIPBackbone", model=clips["vit"], out_type="features")
    tower = MODELS.build(backbone).eval()
    features = []
    for index in range(12):
        pixels = np.array(Image.open(own_images / f"{index}.png")) / 255
        pixels = (pixels - tower.image_mean) / tower.image_std
        images = torch.tensor(pixels.transpose(2, 0, 1)[None], dtype=torch.float32)
        with torch.no_grad():
            features.append(tower(images)[-1].tower[0].numpy())
    features = np.stack(features)
    found = read_scores(scores)
    precisions = []
    for index in range(3):
        known = [i for i in range(12) if (index, i) != (2, 3)]
        labels = [i % 3 == index for i in known]
        regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
        regression[0].fit(features)
        regression[1].fit(regression[0].transform(features[known]), labels)
        expected = regression.decision_function(features[4:])
        np.testing.assert_allclose(found.scores[:, index], expected, atol=1e-3)
        labels = [i % 3 == index for i in range(4, 12)]
        precisions.append(100 * average_precision_score(labels, expected))
    results = json.loads(Path(out).read_text())
    assert results["multi-label/mAP"] == pytest.approx(np.mean(precisions), abs=1e-3)


def test_a_model_without_the_towers_features_is_refused(run_tool, config, data_root):
    with pytest.raises(ValueError, match="gives Tensor, not the tower's own"):
        run_tool("logistic_regression.py", config, "--data-root", data_root)
