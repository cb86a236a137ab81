import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample

from capnet_mm.evaluation import LongTailMAP, ScoreFile, average_precision, read_scores


@pytest.mark.parametrize("groups", [None, dict(head=(1,), medium=(), tail=(0,))])
def test_the_file_has_what_average_precision_is_made_from(tmp_path, groups):
    path = tmp_path / "new" / "scores.npz"
    evaluator = Evaluator([LongTailMAP(), ScoreFile(str(path))])
    evaluator.dataset_meta = dict(classes=("hund", "größe"), groups=groups)
    random = np.random.default_rng(0)
    logits = random.normal(size=(9, 2)).astype(np.float32)
    targets = random.integers(-1, 2, (9, 2))
    for row, target in zip(logits, targets, strict=True):
        sample = DataSample(pred_logits=torch.tensor(row))
        evaluator.process([sample.set_gt_score(torch.tensor(target).float())])
    metrics = evaluator.evaluate(9)

    found = read_scores(path)
    np.testing.assert_array_equal(found.scores, logits)
    np.testing.assert_array_equal(found.targets, targets)
    assert found.classes.tolist() == ["hund", "größe"]
    assert found.groups.tolist() == (["tail", "head"] if groups else ["", ""])
    mean = 100 * average_precision(found.scores, found.targets).mean()
    assert metrics["multi-label/mAP"] == pytest.approx(mean)
    assert not any("ScoreFile" in name for name in metrics)
