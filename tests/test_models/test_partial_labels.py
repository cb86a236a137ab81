"""Unknown labels: no gradient, whatever the loss and the batch."""

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from capnet_mm.models import PartialLabelLinearHead
from capnet_mm.models.heads.partial_labels import multi_label_targets

LOSSES = [
    dict(type="CrossEntropyLoss", use_sigmoid=True),
    dict(type="FocalLoss"),
    dict(type="AsymmetricLoss"),
    dict(type="DBFocalLoss"),
]


def make_head(loss):
    torch.manual_seed(0)
    head = PartialLabelLinearHead(num_classes=4, in_channels=6, loss=loss)
    if hasattr(head.loss_module, "set_class_counts"):
        head.loss_module.set_class_counts([5, 3, 2, 1], 9)
    return head


def gradient(head, logits, samples):
    logits = logits.clone().requires_grad_()
    loss = head._get_loss(logits, samples)["loss"]
    loss.backward()
    return loss.detach(), logits.grad


@pytest.mark.parametrize("loss", LOSSES)
def test_unknown_entries_have_no_gradient_and_known_ones_keep_theirs(loss):
    head = make_head(loss)
    logits = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    known = [DataSample().set_gt_score([1.0, 0, 0, 1]), DataSample().set_gt_label([2])]
    partial = [
        DataSample().set_gt_score([1.0, 0, -1, 1]),
        DataSample().set_gt_score([-1.0, -1, 1, 0]),
    ]
    _, whole = gradient(head, logits, known)
    value, found = gradient(head, logits, partial)
    unknown = torch.tensor([[0, 0, 1, 0], [1, 1, 0, 0]]).bool()
    assert (found[unknown] == 0).all()
    # DBFocalLoss averages over what is known, five entries of eight.
    factor = 8 / 5 if loss["type"] == "DBFocalLoss" else 1
    torch.testing.assert_close(found[~unknown], factor * whole[~unknown])
    assert torch.isfinite(value)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_that_of_the_known_entries(loss):
    head = make_head(loss)
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(3, 4, generator=generator)
    target = torch.randint(-1, 2, (3, 4), generator=generator).float()
    samples = [DataSample().set_gt_score(row) for row in target]
    value, _ = gradient(head, logits, samples)
    module = MODELS.build(loss)
    if loss["type"] == "DBFocalLoss":
        module.set_class_counts([5, 3, 2, 1], 9)
    each = module(logits, target.clamp(min=0), reduction_override="none")
    total = each[target >= 0].sum()
    divisor = (target >= 0).sum() if loss["type"] == "DBFocalLoss" else 3
    torch.testing.assert_close(value, total / divisor)


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2], [2, 1, 0]])
def test_a_batch_may_mix_lists_with_and_without_unknown_labels(order):
    samples = [
        DataSample().set_gt_label([0, 2]).set_gt_score([1.0, -1, 1, 0]),
        DataSample().set_gt_label([3]),
        DataSample().set_gt_label([]),
    ]
    rows = torch.tensor([[1.0, -1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
    target = multi_label_targets([samples[i] for i in order], 4)
    assert torch.equal(target, rows[order])


def test_a_label_that_is_given_twice_counts_once():
    target = multi_label_targets([DataSample().set_gt_label([1, 1, 3])], 4)
    assert target.tolist() == [[0, 1, 0, 1]]
