"""LongTailMAP: totals, groups, the table, and several processes."""

import json
import logging
import re
from unicodedata import east_asian_width

import numpy as np
import pytest
import torch
from conftest import in_processes
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmpretrain.evaluation import AveragePrecision
from mmpretrain.registry import METRICS
from mmpretrain.structures import DataSample
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, f1_score

from capnet_mm.evaluation import LongTailMAP, long_tail_map

NAMES = ("person", "dog", "chair", "cow", "sofa", "boat")
COUNTS = (775, 100, 99, 20, 19, 4)
META = dict(
    classes=NAMES,
    class_counts=COUNTS,
    groups=dict(head=(0, 1), medium=(2, 3), tail=(4, 5)),
)


def case(num_images=60, seed=0):
    """Logits (N, 6) with ties, and labels; some images have none."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_images, 6, generator=generator).mul(4).round().div(2)
    labels = torch.rand(num_images, 6, generator=generator) < 0.25
    labels[:6] |= torch.eye(6, dtype=torch.bool)  # every class has a positive
    labels[6] = False
    return logits, labels


def samples_of(logits, labels, with_logits=True):
    samples = []
    for row, label in zip(logits, labels, strict=True):
        sample = DataSample().set_gt_label(label.nonzero().flatten())
        if with_logits:
            # Saturated: probabilities that have lost the order of the logits.
            sample.set_pred_score(torch.ones(6)).set_field(row, "pred_logits")
        else:
            sample.set_pred_score(row.sigmoid())
        samples.append(sample)
    return samples


def evaluate(samples, meta=META, **options):
    evaluator = Evaluator(METRICS.build(dict(type="LongTailMAP", **options)))
    evaluator.dataset_meta = meta
    for start in range(0, len(samples), 7):
        evaluator.process(samples[start : start + 7])
    return evaluator.evaluate(len(samples))


def sklearn_ap(scores, labels):
    return np.array(
        [
            100 * average_precision_score(labels[:, c].numpy(), scores[:, c].numpy())
            for c in range(scores.shape[1])
        ]
    )


@pytest.fixture
def log_of(caplog):
    """Texts of MMEngine's current logger, at a level."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield lambda level: [
        record.getMessage() for record in caplog.records if record.levelno == level
    ]
    logger.removeHandler(caplog.handler)


# ------------------------------------------------------------------ numbers


def test_means_of_sklearns_ap_over_each_group_of_the_dataset():
    logits, labels = case()
    ap = sklearn_ap(logits, labels)
    expected = {
        "multi-label/mAP": ap.mean(),
        "multi-label/mAP_head": ap[:2].mean(),
        "multi-label/mAP_medium": ap[2:4].mean(),
        "multi-label/mAP_tail": ap[4:].mean(),
    }
    result = evaluate(samples_of(logits, labels))
    assert result == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("softmax", [False, True])
def test_classes_that_are_ranked_some_at_a_time_get_the_same_numbers(
    softmax, monkeypatch
):
    logits, labels = case()
    expected = evaluate(samples_of(logits, labels), META, softmax=softmax)
    entries = 2 * len(logits) + 1  # two classes at a time
    monkeypatch.setattr(long_tail_map, "_BLOCK_ENTRIES", entries)
    found = evaluate(samples_of(logits, labels), META, softmax=softmax)
    assert found == expected
    samples = samples_of(logits, labels)
    samples[3].set_gt_score(torch.tensor([0.0, 0.0, 0.0, 0.0, 2.0, 0.0]))
    with pytest.raises(ValueError, match="image 3 for class 4 is 2"):
        evaluate(samples, META, softmax=softmax)


def test_scores_are_read_where_there_are_no_logits():
    logits, labels = case()
    ap = sklearn_ap(logits.sigmoid(), labels)
    result = evaluate(samples_of(logits, labels, with_logits=False))
    assert result["multi-label/mAP"] == pytest.approx(ap.mean(), abs=1e-10)


def test_half_precision_logits_are_compared_as_they_are():
    logits, labels = case()
    expected = evaluate(samples_of(logits, labels))
    assert evaluate(samples_of(logits.bfloat16(), labels)) == expected


def test_total_equals_mmpretrains_metric_where_there_are_no_ties():
    _, labels = case()
    logits = torch.randn(labels.shape, generator=torch.Generator().manual_seed(3))
    theirs = Evaluator(AveragePrecision())
    theirs.process(samples_of(logits, labels, with_logits=False))
    ours = evaluate(samples_of(logits, labels, with_logits=False))
    expected = theirs.evaluate(len(labels))["multi-label/mAP"]
    assert ours["multi-label/mAP"] == pytest.approx(expected, abs=1e-4)


def test_unknown_labels_of_gt_score_are_left_out():
    logits, labels = case()
    known = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)) < 0.7
    targets = torch.where(known, labels.float(), -1.0)
    samples = samples_of(logits, labels)
    for sample, target in zip(samples, targets, strict=True):
        sample.set_gt_score(target)
    expected = np.mean(
        [
            100 * average_precision_score(labels[k, c], logits[k, c])
            for c, k in enumerate(known.T)
        ]
    )
    result = evaluate(samples)
    assert result["multi-label/mAP"] == pytest.approx(expected, abs=1e-10)


def test_thresholds_replace_the_groups_of_the_dataset():
    logits, labels = case()
    ap = sklearn_ap(logits, labels)
    samples = samples_of(logits, labels)
    result = evaluate(samples, head_threshold=99, tail_threshold=5)
    assert result["multi-label/mAP_head"] == pytest.approx(ap[:3].mean())
    assert result["multi-label/mAP_medium"] == pytest.approx(ap[3:5].mean())
    assert result["multi-label/mAP_tail"] == pytest.approx(ap[5])
    only_tail = evaluate(samples, tail_threshold=5)  # head stays at 100
    assert only_tail["multi-label/mAP_head"] == pytest.approx(ap[:2].mean())


def test_softmax_ranks_as_lmpt_and_lm_clip_do():
    _, labels = case()
    # No ties: two ways to compute a softmax differ in the last bits.
    logits = torch.randn(labels.shape, generator=torch.Generator().manual_seed(3))
    softmax = torch.exp(logits.double())
    softmax = softmax / softmax.sum(1, keepdim=True)
    samples = samples_of(logits, labels)
    result = evaluate(samples, softmax=True)["multi-label/mAP_tail"]
    assert result == pytest.approx(sklearn_ap(softmax, labels)[4:].mean(), abs=1e-10)
    assert abs(result - evaluate(samples)["multi-label/mAP_tail"]) > 1


def test_softmax_at_clips_scale_keeps_the_order():
    # Logits this far apart give 0 in single precision for both images.
    logits = torch.tensor([[0.0, 200.0], [-20.0, 200.0]])
    labels = torch.tensor([[True, True], [False, False]])
    samples = []
    for row, label in zip(logits, labels, strict=True):
        sample = DataSample().set_gt_label(label.nonzero().flatten())
        sample.set_pred_score(row.sigmoid()).set_field(row, "pred_logits")
        samples.append(sample)
    meta = dict(classes=("a", "b"))
    result = evaluate(samples, meta, softmax=True, classwise=True)
    assert result["multi-label/AP/a"] == 100


def test_classwise_adds_the_ap_of_each_class():
    logits, labels = case()
    result = evaluate(samples_of(logits, labels), classwise=True, prefix="val")
    per_class = [result[f"val/AP/{name}"] for name in NAMES]
    np.testing.assert_allclose(per_class, sklearn_ap(logits, labels), atol=1e-10)
    assert len(result) == 4 + 6


# --------------------------------------------------- absent classes and groups


def test_classes_without_a_positive_are_left_out_and_named(log_of):
    logits, labels = case()
    labels[:, [1, 5]] = False
    ap = sklearn_ap(logits[:, [0, 2, 3, 4]], labels[:, [0, 2, 3, 4]])
    result = evaluate(samples_of(logits, labels), classwise=True)
    assert result["multi-label/mAP"] == pytest.approx(ap.mean())
    assert result["multi-label/mAP_head"] == pytest.approx(ap[0])
    assert result["multi-label/mAP_tail"] == pytest.approx(ap[3])
    assert np.isnan(result["multi-label/AP/dog"])
    (warning,) = log_of(logging.WARNING)
    assert "2 of 6 classes have no positive" in warning and "dog, boat." in warning


def test_empty_groups_are_nan_and_named(log_of):
    logits, labels = case()
    labels[:, [4, 5]] = False
    meta = dict(META, groups=dict(head=(0, 1, 2, 3), medium=(), tail=(4, 5)))
    result = evaluate(samples_of(logits, labels), meta)
    assert np.isnan(result["multi-label/mAP_medium"])
    assert np.isnan(result["multi-label/mAP_tail"])
    (warning,) = log_of(logging.WARNING)
    assert "mAP_medium is NaN: the group has no class." in warning
    assert "mAP_tail is NaN: the group has no class with a positive." in warning


def test_no_positive_at_all_is_nan_not_zero():
    logits, labels = case()
    result = evaluate(samples_of(logits, labels & False))
    assert np.isnan(list(result.values())).all()


def test_without_groups_only_the_total_and_a_hint(log_of):
    logits, labels = case()
    result = evaluate(samples_of(logits, labels), meta=dict(classes=NAMES))
    assert set(result) == {"multi-label/mAP"}
    (warning,) = log_of(logging.WARNING)
    assert "train_ann_file" in warning and "ImageListDataset" in warning


# -------------------------------------------------------------------- table


def test_table_has_each_class_from_frequent_to_rare(log_of):
    logits, labels = case()
    order = [3, 0, 5, 1, 4, 2]
    meta = dict(
        classes=tuple(NAMES[i] for i in order),
        class_counts=tuple(COUNTS[i] for i in order),
        groups=dict(head=(1, 3), medium=(5, 0), tail=(4, 2)),
    )
    evaluate(samples_of(logits[:, order], labels[:, order]), meta)
    (table,) = log_of(logging.INFO)
    rows = [line.split() for line in table.splitlines()[2:]]
    groups = ["head", "head", "medium", "medium", "tail", "tail"]
    expected = [
        [name, str(count), group, str(int(n)), f"{ap:.2f}"]
        for name, count, group, n, ap in zip(
            NAMES,
            COUNTS,
            groups,
            labels.sum(0),
            sklearn_ap(logits, labels),
            strict=True,
        )
    ]
    assert rows == expected


def test_of_very_many_classes_the_table_has_the_highest_and_the_lowest(
    log_of, monkeypatch
):
    monkeypatch.setattr(long_tail_map, "_MAX_LOGGED", 5)
    monkeypatch.setattr(long_tail_map, "_EXTREMES", 2)
    logits, labels = case()
    evaluate(samples_of(logits, labels), META)
    (table,) = log_of(logging.INFO)
    assert "of 6 the 2 highest and the 2 lowest" in table
    found = [line.split()[0] for line in table.splitlines()[2:]]
    order = np.argsort(-np.array(sklearn_ap(logits, labels)))
    assert found == [NAMES[i] for i in (*order[:2], *order[-2:])]


def test_the_tables_columns_hold_for_names_in_wide_letters_and_in_brackets(log_of):
    names = ("[red]apple[/red]", "林檎", "사과", "dog", "a " * 60 + "b", "猫")
    evaluate(samples_of(*case()), dict(META, classes=names))
    (table,) = log_of(logging.INFO)
    lines = table.splitlines()[2:]
    assert all(line.startswith(name) for line, name in zip(lines, names, strict=True))
    ends = {sum(1 + (east_asian_width(s) in "WF") for s in line) for line in lines}
    assert len(ends) == 1


# ---------------------------------------------------------------- bad input


def test_thresholds_without_counts_are_an_error_that_says_what_to_do():
    samples = samples_of(*case())
    with pytest.raises(ValueError, match="no class_counts.*train_ann_file"):
        evaluate(samples, meta=dict(classes=NAMES), head_threshold=50)


def test_softmax_without_logits_is_refused():
    with pytest.raises(ValueError, match="softmax=True needs the `pred_logits`"):
        evaluate(samples_of(*case(), with_logits=False), softmax=True)


def test_a_model_for_other_classes_is_refused():
    with pytest.raises(ValueError, match="scores 6 classes but the dataset has 2"):
        evaluate(samples_of(*case()), meta=dict(classes=("cat", "dog")))


def test_soft_ground_truth_is_refused():
    samples = samples_of(*case())
    samples[0].set_gt_score(torch.full((6,), 0.5))
    with pytest.raises(ValueError, match="must be 1 .* the values .0.5."):
        evaluate(samples)


def test_nan_logits_are_refused():
    logits, labels = case()
    logits[9, 2] = float("nan")
    with pytest.raises(ValueError, match="image 9 for class 2 is NaN"):
        evaluate(samples_of(logits, labels))


def test_thresholds_the_wrong_way_round_are_refused_at_once():
    with pytest.raises(ValueError, match="tail_threshold=20 is above"):
        LongTailMAP(head_threshold=10)


# -------------------------------------------------------- several processes


def evaluate_share(rank, world_size):
    """What one process of several sees: every n-th image, padded to equal shares."""
    samples = samples_of(*case(num_images=61))
    share = -(-len(samples) // world_size)
    padded = (samples + samples)[: share * world_size]
    evaluator = Evaluator(LongTailMAP(classwise=True))
    evaluator.dataset_meta = META
    evaluator.process(padded[rank::world_size])
    return evaluator.evaluate(len(samples))


@pytest.mark.parametrize("number", [2, 3])
def test_several_processes_give_the_numbers_of_one(number):
    shares = in_processes(number, __file__)
    expected = evaluate_share(0, 1)
    assert len(expected) == 4 + 6
    assert shares == [expected] * number


if __name__ == "__main__":  # one of the processes of the test above
    from torch import distributed

    distributed.init_process_group("gloo")
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    print()
    print(json.dumps(evaluate_share(rank, world_size)))
    distributed.destroy_process_group()


def test_results_of_the_classes_are_kept_and_agree_with_scikit_learn():
    logits, labels = case()
    labels[:, 5] = False  # boat has no positive: no average precision
    metric = LongTailMAP()
    assert metric.class_results is None
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = META
    evaluator.process(samples_of(logits, labels))
    evaluator.evaluate(len(logits))
    groups = ("head", "head", "medium", "medium", "tail", "tail")
    for column, entry in enumerate(metric.class_results):
        assert entry["name"] == NAMES[column]
        assert entry["train_count"] == COUNTS[column]
        assert entry["group"] == groups[column]
        assert entry["num_positives"] == int(labels[:, column].sum())
        if column < 5:
            expected = average_precision_score(labels[:, column], logits[:, column])
            assert entry["average_precision"] == pytest.approx(100 * expected)
        else:
            assert np.isnan(entry["average_precision"])


# -------------------------------------------------- thresholds of a checkpoint


def calibrated(logits, labels, names=NAMES, meta=META, **options):
    """Results, and the metric, with a calibration for classes in some order."""
    metric = METRICS.build(dict(type="LongTailMAP", **options))
    order = [NAMES.index(name) for name in names]
    metric.calibration = dict(
        classes=list(names),
        scale=0.5,
        bias=(np.arange(6) / 6)[order].tolist(),
        thresholds=np.linspace(0.3, 0.8, 6)[order].tolist(),
    )
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = meta
    evaluator.process(samples_of(logits, labels))
    return evaluator.evaluate(len(logits)), metric


def expected_predictions(logits):
    probabilities = (0.5 * logits.double() + torch.arange(6) / 6).sigmoid()
    return probabilities >= torch.linspace(0.3, 0.8, 6)


@pytest.mark.parametrize("names", [NAMES, NAMES[::-1]])
def test_thresholds_of_a_checkpoint_are_judged_by_group_and_name(names):
    logits, labels = case()
    result, metric = calibrated(logits, labels, names)
    predicted = expected_predictions(logits)
    for suffix, part in (("", range(6)), ("_head", (0, 1)), ("_tail", (4, 5))):
        truth, found = labels[:, list(part)], predicted[:, list(part)]
        macro = 100 * f1_score(truth, found, average="macro")
        micro = 100 * f1_score(truth, found, average="micro")
        assert result[f"multi-label/mF1{suffix}"] == pytest.approx(macro)
        assert result[f"multi-label/OF1{suffix}"] == pytest.approx(micro)
    each = 100 * f1_score(labels, predicted, average=None)
    assert [entry["f1"] for entry in metric.class_results] == pytest.approx(each)
    thresholds = [entry["threshold"] for entry in metric.class_results]
    assert thresholds == pytest.approx(np.linspace(0.3, 0.8, 6))


def test_reliability_is_measured_before_and_after_calibration():
    logits, labels = case()
    _, metric = calibrated(logits, labels)
    assert set(metric.reliability["after"]) == {"total", "head", "medium", "tail"}
    before = metric.reliability["before"]["tail"]
    observed, predicted = calibration_curve(
        labels[:, 4:].ravel(), logits[:, 4:].double().sigmoid().ravel(), n_bins=15
    )
    np.testing.assert_allclose(before.observed, observed)
    np.testing.assert_allclose(before.predicted, predicted)


def test_without_a_calibration_or_with_the_switch_off_results_are_todays():
    logits, labels = case()
    todays = evaluate(samples_of(logits, labels))
    assert [name.split("_")[0] for name in todays] == ["multi-label/mAP"] * 4
    off, metric = calibrated(logits, labels, use_calibration=False)
    assert off == todays and metric.reliability is None
    assert "threshold" not in metric.class_results[0]
    on, _ = calibrated(logits, labels)
    assert {name: on[name] for name in todays} == todays


def test_the_table_shows_thresholds_and_f1(log_of):
    _, metric = calibrated(*case())
    (table,) = [text for text in log_of(logging.INFO) if "AP" in text]
    assert re.search(r"AP +threshold +F1$", table, re.M)
    boat = metric.class_results[5]
    assert re.search(rf"boat .* 0\.800 +{boat['f1']:.2f}$", table, re.M)


def test_thresholds_for_other_classes_are_refused():
    meta = dict(META, classes=(*NAMES[:5], "ship"))
    with pytest.raises(ValueError, match=r"there are none for \['ship'\]"):
        calibrated(*case(), meta=meta)
