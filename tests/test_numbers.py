"""Losses, head and metric on extreme numbers, and what must hold for any numbers."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mmengine.evaluator import Evaluator
from mmpretrain.registry import METRICS, MODELS
from mmpretrain.structures import DataSample
from torch.nn import functional as F

from capnet_mm.evaluation import average_precision
from capnet_mm.models import (
    CLIPClassifier,
    CorrelationPromptHead,
    DBFocalLoss,
    PartialLabelLinearHead,
    TestTimeEnsemble,
)

# HYPOTHESIS_SCALE=100 draws a hundred times as many.
SCALE = int(os.environ.get("HYPOTHESIS_SCALE", 1))
DB_FOCAL = [
    dict(),
    dict(focal=False),
    dict(gamma=0.0),
    dict(gamma=0.5),
    dict(rebalance=False),
    dict(regularize_logits=False),
    dict(class_weight_exponent=1.0),  # as LMPT weighs classes
    dict(average="images"),
    dict(neg_scale=1e-3),
]
LOSSES = [
    *(dict(type="DBFocalLoss", **options) for options in DB_FOCAL),
    dict(type="AsymmetricLoss"),
    dict(type="FocalLoss"),
    dict(type="CrossEntropyLoss", use_sigmoid=True),
]
NUM_IMAGES = 10  # N of the class counts
COUNTS = {"none": 0, "few": 3, "all": NUM_IMAGES}
TARGETS = {
    "negative": lambda shape: torch.zeros(shape),
    "positive": lambda shape: torch.ones(shape),
    "unknown": lambda shape: -torch.ones(shape),
    "mixed": lambda shape: torch.arange(shape[0] * shape[1]).view(shape) % 3 - 1.0,
}


def head_with(loss, num_classes, counts):
    head = PartialLabelLinearHead(num_classes=num_classes, in_channels=4, loss=loss)
    if isinstance(head.loss_module, DBFocalLoss):
        head.loss_module.set_class_counts([counts] * num_classes, NUM_IMAGES)
    return head


def loss_of(head, logits, targets):
    samples = [DataSample().set_gt_score(row) for row in targets]
    return head._get_loss(logits, samples)["loss"]


def with_gradient(head, logits, targets):
    logits = logits.detach().clone().requires_grad_()
    loss = loss_of(head, logits, targets)
    loss.backward()
    return loss.detach(), logits.grad


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_loss_and_gradient_are_finite_and_not_negative(loss, dtype):
    """Logits to ±1e4, one image, one class, labels of one kind, n_c = 0 and N."""
    generator = torch.Generator().manual_seed(0)
    for shape in ((1, 1), (1, 5), (4, 1), (4, 5), (64, 100)):
        signs = torch.randn(shape, generator=generator).sign()
        for counts in COUNTS.values() if loss["type"] == "DBFocalLoss" else [3]:
            head = head_with(loss, shape[1], counts)
            for name, targets in TARGETS.items():
                for size in (0, 1, 100, 1e4):
                    logits = (signs * size).to(dtype)
                    value, slope = with_gradient(head, logits, targets(shape))
                    case = shape, counts, name, size
                    assert value.isfinite() and value >= 0, case
                    assert slope.isfinite().all() and slope.dtype == dtype, case


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_single_class_has_the_loss_of_its_own_labels(loss):
    """MMPretrain's losses read one column as numbers of classes."""
    head, both = (head_with(loss, n, 3) for n in (1, 2))
    logits = torch.tensor([[2.0], [-1.0], [0.5]])
    targets = torch.tensor([[1.0], [0.0], [0.0]])
    value, slope = with_gradient(head, logits, targets)
    # Beside a class of unknown labels, which has no loss of its own.
    unknown = -torch.ones_like(targets)
    beside = torch.cat([logits, logits], 1), torch.cat([targets, unknown], 1)
    value_beside, slope_beside = with_gradient(both, *beside)
    torch.testing.assert_close(value, value_beside)
    torch.testing.assert_close(slope, slope_beside[:, :1])
    assert (slope[0] < 0) and (slope[1:] > 0).all()  # up for positives, else down


def targets_of(shape):
    return arrays(np.int8, shape, elements=st.sampled_from([-1, 0, 1]))


def logits_of(shape):
    return arrays(np.float32, shape, elements=st.floats(-1e4, 1e4, width=32))


@st.composite
def batches(draw):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    counts = draw(st.lists(st.integers(0, 9), min_size=shape[1], max_size=shape[1]))
    order = draw(st.permutations(range(shape[1])))
    return draw(logits_of(shape)), draw(targets_of(shape)), counts, list(order)


@settings(max_examples=150 * SCALE, deadline=None, derandomize=SCALE == 1)
@given(batches(), st.sampled_from(LOSSES))
def test_permuting_the_classes_permutes_the_gradient_and_leaves_the_loss(batch, loss):
    logits, targets, counts, order = batch
    logits, targets = torch.from_numpy(logits), torch.from_numpy(targets).float()
    head = head_with(loss, len(counts), 1)
    permuted = head_with(loss, len(counts), 1)
    if isinstance(head.loss_module, DBFocalLoss):
        head.loss_module.set_class_counts(counts, 9)
        permuted.loss_module.set_class_counts([counts[i] for i in order], 9)
    value, slope = with_gradient(head, logits, targets)
    other, other_slope = with_gradient(permuted, logits[:, order], targets[:, order])
    assert value >= 0 and value.isfinite() and slope.isfinite().all()
    torch.testing.assert_close(other, value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(other_slope, slope[:, order], rtol=1e-5, atol=1e-7)
    assert not slope[targets == -1].any()


@settings(max_examples=300 * SCALE, deadline=None, derandomize=SCALE == 1)
@given(batches(), st.randoms(use_true_random=False))
def test_the_metric_goes_by_the_order_of_scores_alone(batch, random):
    """Invariant to monotone transforms; permuting classes or images permutes it."""
    scores, targets, _, order = batch
    expected = average_precision(scores, targets)
    ranks = np.unique(scores, return_inverse=True)[1].reshape(scores.shape)
    images = random.sample(range(len(scores)), len(scores))
    for moved in (ranks.astype(np.float32), 3 * ranks.astype(float) ** 3 - 7):
        np.testing.assert_array_equal(average_precision(moved, targets), expected)
    np.testing.assert_array_equal(
        average_precision(scores[images][:, order], targets[images][:, order]),
        expected[order],
    )
    known = ~np.isnan(expected)
    assert ((0 < expected[known]) & (expected[known] <= 1)).all()


def metric_of(logits, targets, groups):
    metric = Evaluator(METRICS.build(dict(type="LongTailMAP")))
    names = [f"class {c}" for c in range(logits.shape[1])]
    metric.dataset_meta = dict(
        classes=names, class_counts=[1] * len(names), groups=groups
    )
    samples = [DataSample().set_gt_score(target) for target in targets]
    for sample, row in zip(samples, logits, strict=True):
        sample.set_field(row, "pred_logits")
    metric.process(samples)
    return metric.evaluate(len(logits))


def test_permuting_the_classes_and_their_groups_leaves_the_whole_metric():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 6, generator=generator)
    targets = torch.randint(-1, 2, (40, 6), generator=generator).float()
    order = [3, 5, 0, 1, 4, 2]
    groups = dict(head=(0, 1), medium=(2, 3), tail=(4, 5))
    moved = {
        name: tuple(sorted(order.index(c) for c in each))
        for name, each in groups.items()
    }
    expected = metric_of(logits, targets, groups)
    assert len(set(expected.values())) == 4
    found = metric_of(logits[:, order], targets[:, order], moved)
    assert found == pytest.approx(expected, abs=1e-9)
    assert metric_of(logits**3 + 2, targets, groups) == pytest.approx(
        expected, abs=1e-9
    )


NAMES = ["dog", "cat", "dining table", "tv", "boat"]


def head_of(tiny_clip, classes, **options):
    torch.manual_seed(0)
    head = CorrelationPromptHead(
        classes,
        dict(model=tiny_clip),
        prompt=dict(num_context=2),
        graph=dict(topk=3),
        gcn=dict(zero_init=False),
        **options,
    )
    head.loss_module.set_class_counts(
        [NAMES.index(name) + 1 for name in classes], NUM_IMAGES
    )
    return head


@pytest.mark.parametrize("train", [True, False])
def test_permuting_the_classes_permutes_the_heads_logits(tiny_clip, train):
    order = [4, 2, 0, 3, 1]
    head = head_of(tiny_clip, NAMES).train(train)
    permuted = head_of(tiny_clip, [NAMES[i] for i in order]).train(train)
    parameters = list(zip(head.parameters(), permuted.parameters(), strict=True))
    with torch.no_grad():
        for one, other in parameters:
            per_class = len(one) == len(NAMES)  # prompts of its own
            other.copy_(one[order] if per_class else one)
    generator = torch.Generator().manual_seed(1)
    feats = (torch.randn(3, 16, generator=generator),)
    targets = (torch.rand(3, 5, generator=generator) < 0.5).float()
    losses = []
    for each, t in ((head, targets), (permuted, targets[:, order])):
        samples = [DataSample().set_gt_score(row) for row in t]
        losses.append(each.loss(feats, samples)["loss"])
        losses[-1].backward()
    torch.testing.assert_close(permuted(feats), head(feats)[:, order])
    torch.testing.assert_close(losses[0], losses[1])
    for one, other in parameters:
        if one.requires_grad:
            slope = one.grad[order] if len(one) == len(NAMES) else one.grad
            torch.testing.assert_close(other.grad, slope, rtol=1e-3, atol=1e-6)
    assert sum(len(one) == len(NAMES) for one, _ in parameters) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("names", [NAMES, NAMES[:1]])
def test_the_heads_loss_and_gradients_are_finite_at_logits_of_ten_thousand(
    tiny_clip, names, dtype
):
    for kind in ("DBFocalLoss", "AsymmetricLoss", "CrossEntropyLoss"):
        options = dict(use_sigmoid=True) if kind == "CrossEntropyLoss" else {}
        torch.manual_seed(0)
        head = CorrelationPromptHead(
            names,
            dict(model=tiny_clip),
            prompt=dict(num_context=2),
            gcn=dict(zero_init=False),
            temperature=1e-4,
            loss=dict(type=kind, **options),
        )
        if kind == "DBFocalLoss":
            head.loss_module.set_class_counts([0] * len(names), NUM_IMAGES)
        z = head.class_embeddings().detach()
        # The classes' own directions, both ways, and an image of no direction at all.
        feats = torch.cat([z, -z, torch.zeros(1, z.shape[1])]).to(dtype)
        logits = head((feats,))
        assert logits.dtype == torch.float32 and logits.abs().max() > 9900
        for target in (0.0, 1.0):
            head.zero_grad()
            samples = [
                DataSample().set_gt_score(torch.full((len(names),), target))
                for _ in feats
            ]
            loss = head.loss((feats,), samples)["loss"]
            loss.backward()
            assert loss.isfinite() and loss >= 0
            for name, parameter in head.named_parameters():
                if parameter.grad is not None:
                    assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("num_views", [1, 2, 5])
def test_identical_views_equal_one_view(tiny_clip, average, num_views):
    torch.manual_seed(0)
    model = CLIPClassifier(
        clip=dict(model=tiny_clip),
        backbone=dict(),
        head=dict(classes=NAMES, loss=dict(type="CrossEntropyLoss", use_sigmoid=True)),
    ).eval()
    images = torch.randint(0, 256, (3, 3, 32, 32)).to(torch.uint8)

    def samples():
        return [DataSample() for _ in images]

    with torch.no_grad():
        one = model.test_step(dict(inputs=images, data_samples=samples()))
        views = dict(
            inputs=[images] * num_views,
            data_samples=[samples() for _ in range(num_views)],
        )
        merged = TestTimeEnsemble(model, average=average).eval().test_step(views)
    for single, sample in zip(one, merged, strict=True):
        torch.testing.assert_close(sample.pred_logits, single.pred_logits)
        torch.testing.assert_close(sample.pred_score, single.pred_score)
        assert sample.pred_label.tolist() == single.pred_label.tolist()


def test_the_loss_of_certain_and_right_predictions_is_nothing():
    """At ±1e4 the loss of each is the limit that its formula has."""
    for loss in LOSSES:
        head = head_with(loss, 4, 3)
        targets = torch.eye(4)
        right = (2 * targets - 1) * 1e4
        assert loss_of(head, right, targets) == pytest.approx(0, abs=1e-6)
        assert loss_of(head, -right, targets) > 1
    module = MODELS.build(dict(type="CrossEntropyLoss", use_sigmoid=True))
    wrong = module(-right, targets, avg_factor=4)
    expected = F.binary_cross_entropy_with_logits(-right, targets, reduction="sum") / 4
    torch.testing.assert_close(wrong, expected)
