"""Scores of images are those of the model's own prediction, with their labels."""

import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from capnet_mm.engine.scoring import scored_batches


def test_scores_and_labels_are_those_of_the_images(tiny_clip):
    head = dict(classes=["dog", "cat"], prompt=None, gcn=None)
    config = dict(type="CLIPClassifier", clip=dict(model=tiny_clip), backbone={})
    model = MODELS.build(dict(config, head=head)).eval()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    known = DataSample().set_gt_label([1])
    unknown = DataSample().set_gt_label([1]).set_gt_score(torch.tensor([-1, 1]))
    batches = [
        dict(inputs=list(images[:2]), data_samples=[known, unknown]),
        dict(inputs=list(images[2:]), data_samples=[known.clone()]),
    ]
    found = list(scored_batches(model, batches, model.head, 2))
    assert [targets.tolist() for _, targets in found] == [[[0, 1], [-1, 1]], [[0, 1]]]
    for batch, (scores, _) in zip(batches, found, strict=True):
        assert not scores.requires_grad
        predicted = torch.stack([each.pred_logits for each in model.test_step(batch)])
        torch.testing.assert_close(scores, predicted)
