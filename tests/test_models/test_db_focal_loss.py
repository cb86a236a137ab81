import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.models.heads import MultiLabelLinearClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from scipy.special import expit

from capnet_mm.models import DBFocalLoss

SETTINGS = dict(voc=dict(mu=0.3, neg_scale=5), coco=dict(mu=0.2, neg_scale=2))
CASES = [(data, kind) for data in ("voc", "coco") for kind in ("focal", "plain")]
# A few images' logits with the values and gradients of the authors' code.
RELEASED = json.loads(
    Path(__file__).with_name("db_focal_released_code.json").read_text()
)


def reference_loss(logits, labels, counts, num_images, *, mu, neg_scale, focal=True):
    """The published formula, entry by entry in float64."""
    values = np.zeros(logits.shape)
    for i, c in np.ndindex(*logits.shape):
        mass = sum(1 / counts[k] for k in np.flatnonzero(labels[i]))
        ratio = 1 / counts[c] / mass
        weight = 0.1 + expit(10 * (ratio - mu))
        u = logits[i, c] - 0.05 / neg_scale * np.log(num_images / counts[c] - 1)
        if labels[i, c]:
            bce, factor = np.logaddexp(0, -u), weight
        else:
            bce, factor = np.logaddexp(0, neg_scale * u), weight / neg_scale
        values[i, c] = factor * bce
        if focal:
            values[i, c] *= 2 * (1 - np.exp(-bce)) ** 2
    return values


def make_loss(data, **options):
    loss = DBFocalLoss(**SETTINGS[data], **options)
    loss.set_class_counts(RELEASED[data]["class_counts"], RELEASED[data]["num_images"])
    return loss


@pytest.mark.parametrize(("data", "kind"), CASES)
def test_value_and_gradient_equal_the_released_codes(data, kind):
    case = RELEASED[data][kind]
    logits = torch.tensor(case["logits"], requires_grad=True)
    target = torch.zeros_like(logits)
    for row, positives in zip(target, case["positives"], strict=True):
        row[positives] = 1
    loss = make_loss(data, focal=kind == "focal")
    values = loss(logits, target, reduction_override="none")
    values.sum().backward()
    expected = torch.tensor(case["gradient_of_sum"])
    torch.testing.assert_close(logits.grad, expected, rtol=1e-5, atol=1e-5)
    if "values" in case:
        expected = torch.tensor(case["values"])
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-5)
    assert float(loss(logits, target)) == pytest.approx(float(values.mean()))


@pytest.mark.parametrize(("data", "kind"), CASES)
def test_value_and_gradient_equal_the_whole_reference(data, kind, shared_dir):
    reference = np.load(shared_dir / "reference" / "db_focal.npz")
    logits = torch.tensor(reference[f"{data}_{kind}_logits"], requires_grad=True)
    target = torch.tensor(reference[f"{data}_{kind}_labels"])
    loss = make_loss(data, focal=kind == "focal")(logits, target, avg_factor=16)
    loss.backward()
    assert abs(loss.item() - float(reference[f"{data}_{kind}_mean"])) < 1e-5
    gradient = torch.tensor(reference[f"{data}_{kind}_grad"])
    assert (logits.grad - gradient).abs().max() < 1e-5


@pytest.mark.parametrize(("data", "kind"), CASES)
def test_value_equals_the_formula(data, kind):
    rng = np.random.default_rng(0)
    counts = RELEASED[data]["class_counts"]
    logits = rng.normal(scale=3, size=(6, len(counts)))
    labels = rng.random(logits.shape) < 0.2
    labels[:, 0] |= ~labels.any(1)
    values = make_loss(data, focal=kind == "focal")(
        torch.tensor(logits), torch.tensor(labels), reduction_override="none"
    )
    expected = reference_loss(
        logits,
        labels,
        counts,
        RELEASED[data]["num_images"],
        focal=kind == "focal",
        **SETTINGS[data],
    )
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_each_part_can_be_switched_off():
    logits = torch.randn(4, 20, generator=torch.Generator().manual_seed(0))
    target = (logits > 1).float()
    off = dict(focal=False, rebalance=False, regularize_logits=False)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    torch.testing.assert_close(
        make_loss("voc", **off)(logits, target), bce(logits, target)
    )
    focal = make_loss("voc", **{**off, "focal": True}, balance=1)
    p_t = torch.where(target == 1, logits.sigmoid(), 1 - logits.sigmoid())
    expected = (-((1 - p_t) ** 2) * p_t.log()).mean()
    torch.testing.assert_close(focal(logits, target), expected)
    everything = make_loss("voc")(logits, target)
    for part in off:
        assert make_loss("voc", **{part: False})(logits, target) != everything


def test_mean_is_over_images_and_classes_whatever_mmpretrains_heads_pass():
    logits, target = torch.randn(4, 20), torch.eye(4, 20)
    mean = make_loss("voc")(logits, target)
    assert make_loss("voc")(logits, target, avg_factor=4) == mean
    per_image = make_loss("voc", average="images")(logits, target, avg_factor=4)
    torch.testing.assert_close(per_image, 20 * mean)
    total = make_loss("voc")(logits, target, reduction_override="sum")
    torch.testing.assert_close(total, 80 * mean)
    weight = torch.tensor([1.0, 0, 0, 0])
    first = make_loss("voc")(logits[:1], target[:1])
    weighted = make_loss("voc")(logits, target, weight=weight)
    torch.testing.assert_close(4 * weighted, first)


def partly_known(num_classes=20):
    """Logits, labels with -1 for a third of the entries, and what is known."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(6, num_classes))
    labels = (rng.random(logits.shape) < 0.3).astype(int)
    known = rng.random(logits.shape) < 0.66
    known[:, 0], labels[:, 0] = True, 1  # a label in every image
    return logits, np.where(known, labels, -1), known


@pytest.mark.parametrize(("data", "kind"), CASES)
def test_unknown_entries_have_no_loss_no_gradient_and_no_share_in_the_mean(data, kind):
    logits, target, known = partly_known(len(RELEASED[data]["class_counts"]))
    # The formula, with the positives that are known as all positives there are.
    expected = reference_loss(
        logits,
        target == 1,
        RELEASED[data]["class_counts"],
        RELEASED[data]["num_images"],
        focal=kind == "focal",
        **SETTINGS[data],
    )[known]
    loss = make_loss(data, focal=kind == "focal")
    x = torch.tensor(logits, requires_grad=True)
    y = torch.tensor(target)
    values = loss(x, y, reduction_override="none")
    assert values.detach()[~known].eq(0).all()
    np.testing.assert_allclose(values.detach()[known], expected, rtol=1e-4, atol=1e-6)
    mean = loss(x, y, avg_factor=6)
    assert mean.item() == pytest.approx(expected.mean(), rel=1e-5)
    total = loss(x, y, reduction_override="sum").item()
    assert total == pytest.approx(expected.sum(), rel=1e-5)
    per_image = make_loss(data, focal=kind == "focal", average="images")
    assert per_image(x, y, avg_factor=6).item() == pytest.approx(total / 6, rel=1e-6)
    # A fully labelled batch, of which only the known entries are looked at.
    full = torch.tensor(logits, requires_grad=True)
    loss(full, y.clamp(min=0), reduction_override="none")[known].mean().backward()
    mean.backward()
    assert x.grad[~known].eq(0).all()
    torch.testing.assert_close(x.grad, full.grad)


def test_logits_of_unknown_entries_change_nothing():
    logits, target, known = partly_known()
    changed = np.where(known, logits, 100.0)
    loss, target = make_loss("voc"), torch.tensor(target)
    assert loss(torch.tensor(logits), target) == loss(torch.tensor(changed), target)


def test_mean_without_unknown_entries_is_that_of_all():
    logits, target, _ = partly_known()
    logits, target = torch.tensor(logits), torch.tensor(target).clamp(min=0)
    loss = make_loss("voc")
    values = loss(logits, target, reduction_override="none")
    torch.testing.assert_close(loss(logits, target), values.mean())


@pytest.mark.parametrize("average", ["elements", "images"])
def test_images_and_batches_of_which_nothing_is_known_stay_finite(average):
    loss = make_loss("voc", average=average, class_weight_exponent=0.5)
    logits = torch.randn(3, 20, requires_grad=True)
    nothing = loss(logits, torch.full((3, 20), -1.0))
    nothing.backward()
    assert nothing.item() == 0 and logits.grad.eq(0).all()

    logits.grad = None
    target = torch.eye(3, 20)
    target[1] = -1
    value = loss(logits, target)
    value.backward()
    assert torch.isfinite(value) and value > 0
    assert torch.isfinite(logits.grad).all() and logits.grad[1].eq(0).all()
    if average == "elements":  # as if the image were not there
        torch.testing.assert_close(value, loss(logits[[0, 2]], target[[0, 2]]))


def test_class_weights_follow_the_counts_with_mean_one():
    logits, target = torch.randn(2, 20), torch.eye(2, 20)
    plain = make_loss("voc")(logits, target, reduction_override="none")
    weighted = make_loss("voc", class_weight_exponent=0.5)(
        logits, target, reduction_override="none"
    )
    ratio = (weighted / plain)[0].double().numpy()
    inverse = np.array(RELEASED["voc"]["class_counts"]) ** -0.5
    np.testing.assert_allclose(ratio, inverse / inverse.mean(), rtol=1e-4)


@pytest.mark.parametrize("focal", [True, False])
def test_no_labels_empty_classes_and_full_classes_stay_finite(focal):
    loss = DBFocalLoss(focal=focal, class_weight_exponent=0.5)
    loss.set_class_counts([0, 40, 7, 1], num_images=40)
    logits = torch.tensor(
        [[0.0, 1, -2, 3], [80, -80, 200, -200], [-80, 80, -200, 200]],
        requires_grad=True,
    )
    for target in (torch.zeros(3, 4), torch.ones(3, 4), torch.eye(3, 4)):
        logits.grad = None
        value = loss(logits, target)
        value.backward()
        assert torch.isfinite(value) and value > 0
        assert torch.isfinite(logits.grad).all()


def test_image_without_labels_has_the_limit_of_the_weight():
    """As the labels' mass goes to zero, r grows and w approaches alpha + 1."""
    logits = torch.zeros(1, 20)
    off = dict(focal=False, regularize_logits=False)
    value = make_loss("voc", **off)(logits, torch.zeros(1, 20))
    assert float(value) == pytest.approx(1.1 * np.log(2))


def test_missing_or_wrong_counts_are_explained():
    with pytest.raises(ValueError, match="ClassCountsHook"):
        DBFocalLoss()(torch.zeros(1, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="20 classes.*3 logits"):
        make_loss("voc")(torch.zeros(1, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="between 0 and the 10"):
        DBFocalLoss().set_class_counts([11, 2], num_images=10)
    with pytest.raises(ValueError, match="average"):
        DBFocalLoss(average="batch")


def test_counts_travel_in_the_checkpoint():
    saved = make_loss("coco").state_dict()
    loss = DBFocalLoss(**SETTINGS["coco"])
    loss.load_state_dict(saved)
    assert loss.class_counts.tolist() == RELEASED["coco"]["class_counts"]
    assert float(loss.num_images) == 1909


def test_loss_serves_in_mmpretrains_own_head():
    head = MultiLabelLinearClsHead(
        num_classes=3, in_channels=8, loss=dict(type="DBFocalLoss")
    )
    head.loss_module.set_class_counts([5, 2, 1], num_images=9)
    feats = (torch.randn(2, 8),)
    samples = [DataSample().set_gt_label([0, 2]), DataSample().set_gt_label([1])]
    loss = head.loss(feats, samples)["loss"]
    target = torch.tensor([[1, 0, 1], [0, 1, 0]])
    expected = MODELS.build(dict(type="DBFocalLoss"))
    expected.set_class_counts([5, 2, 1], num_images=9)
    torch.testing.assert_close(loss, expected(head(feats), target))


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 0.9, 1.0, 2.0])
@pytest.mark.parametrize("scale", [1.0, 50.0, 200.0, 1e4])
def test_gradients_are_finite_at_saturation_for_every_gamma(gamma, scale):
    loss = DBFocalLoss(gamma=gamma)
    loss.set_class_counts([3, 5], 9)
    logits = scale * torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.0, 1.0]])
    logits.requires_grad_()
    value = loss(logits, torch.tensor([[1.0, 0], [1, 0], [0, 1]]))
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(logits.grad).all()
    # Saturated on the right side: nothing to learn.
    if scale >= 200:
        assert logits.grad[0].abs().max() == 0


@pytest.mark.parametrize("soft", [0.3, 1.0001, 2.0])
def test_soft_targets_are_refused(soft):
    loss = DBFocalLoss()
    loss.set_class_counts([3, 5], 9)
    with pytest.raises(ValueError, match=f"got {soft:g}.*Mixup"):
        loss(torch.zeros(1, 2), torch.tensor([[1.0, soft]]))


def test_mixup_with_this_loss_is_refused_through_mmpretrains_classifier():
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="ImageClassifier",
            backbone=dict(type="MobileNetV2", widen_factor=0.1),
            neck=dict(type="GlobalAveragePooling"),
            head=dict(
                type="MultiLabelLinearClsHead",
                num_classes=2,
                in_channels=1280,
                loss=dict(type="DBFocalLoss"),
            ),
            train_cfg=dict(augments=dict(type="Mixup", alpha=1.0)),
            data_preprocessor=dict(num_classes=2, to_onehot=True),
        )
    )
    model.head.loss_module.set_class_counts([3, 5], 9)
    samples = [DataSample().set_gt_label([label]) for label in (0, 1, 0, 1)]
    data = dict(inputs=torch.rand(4, 3, 32, 32), data_samples=samples)
    batch = model.data_preprocessor(data, training=True)
    with pytest.raises(ValueError, match="Soft targets of Mixup"):
        model(**batch, mode="loss")


def test_negative_gamma_is_refused():
    with pytest.raises(ValueError, match="gamma"):
        DBFocalLoss(gamma=-1)
