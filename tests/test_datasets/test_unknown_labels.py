"""Unknown labels: from the list through loss and metric."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.models.heads import MultiLabelLinearClsHead
from PIL import Image
from sklearn.metrics import average_precision_score

from capnet_mm.datasets import ImageListDataset
from capnet_mm.evaluation import LongTailMAP
from capnet_mm.models import DBFocalLoss

init_default_scope("mmpretrain")

CLASSES = ("cat", "dog", "cow", "bus")
TEXT = "a.jpg 2 0 ?3 ?1\nb.jpg\nc.jpg ?0 ?1 ?2 ?3\nd.jpg 3\n"
SCORES = [[1, -1, 1, -1], [0, 0, 0, 0], [-1, -1, -1, -1], [0, 0, 0, 1]]
PIPELINE = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(16, 16)),
    dict(type="PackInputs"),
]


@pytest.fixture
def root(tmp_path):
    for seed, name in enumerate("abcd"):
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.jpg")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    (tmp_path / "train.txt").write_text(TEXT)
    return tmp_path


def make(root, name="train.txt", **options):
    return ImageListDataset(name, data_root=str(root), pipeline=PIPELINE, **options)


def batch_of(dataset):
    batch = pseudo_collate([dataset[index] for index in range(len(dataset))])
    return ClsDataPreprocessor()(batch, training=True)


# ----------------------------------------------------------------- dataset


@pytest.mark.parametrize("serialize", [True, False])
def test_all_images_carry_scores_where_one_has_unknown_labels(root, serialize):
    dataset = make(root, serialize_data=serialize)
    for _ in range(2):
        infos = [dataset.get_data_info(index) for index in range(4)]
        assert [info["gt_score"].tolist() for info in infos] == SCORES
        assert [info["gt_label"] for info in infos] == [[0, 2], [], [], [3]]
    # A subset without unknown labels shares batches with the rest.
    assert dataset.get_subset([1])[0]["data_samples"].gt_score.tolist() == SCORES[1]


def test_lists_in_which_all_is_known_carry_none(root):
    (root / "known.txt").write_text("a.jpg 0\nb.jpg\n")
    dataset = make(root, "known.txt")
    assert "gt_score" not in dataset.get_data_info(0)
    assert "gt_score" not in dataset[0]["data_samples"]


def test_class_counts_are_of_positives(root):
    metainfo = make(root).metainfo
    assert metainfo["class_counts"] == (1, 0, 1, 1)
    assert metainfo["num_images"] == 4
    of_list = make(root, test_mode=True, train_ann_file="train.txt").metainfo
    assert of_list["class_counts"] == (1, 0, 1, 1)


def test_scores_pass_through_mmpretrains_pipeline_and_preprocessor(root):
    samples = batch_of(make(root))["data_samples"]
    assert [sample.gt_score.tolist() for sample in samples] == SCORES
    assert [sample.gt_label.tolist() for sample in samples] == [[0, 2], [], [], [3]]


# --------------------------------------------------------- loss and metric


def test_head_trains_on_the_known_labels_of_the_list(root):
    dataset = make(root)
    head = MultiLabelLinearClsHead(
        num_classes=4, in_channels=8, loss=dict(type="DBFocalLoss")
    )
    counts = dataset.metainfo["class_counts"], dataset.metainfo["num_images"]
    head.loss_module.set_class_counts(*counts)
    features = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    loss = head.loss((features,), batch_of(dataset)["data_samples"])["loss"]

    reference = DBFocalLoss()
    reference.set_class_counts(*counts)
    target = torch.tensor(SCORES)
    values = reference(
        head((features,)), target.clamp(min=0), reduction_override="none"
    )
    torch.testing.assert_close(loss, values[target >= 0].mean())


def test_metric_leaves_the_unknown_labels_of_the_list_out(root):
    dataset = make(root, test_mode=True, train_ann_file="train.txt")
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    evaluator = Evaluator(LongTailMAP())
    evaluator.dataset_meta = dataset.metainfo
    samples = batch_of(dataset)["data_samples"]
    for sample, scores in zip(samples, logits, strict=True):
        sample.set_pred_score(scores.sigmoid())
    evaluator.process(samples)
    result = evaluator.evaluate(4)["multi-label/mAP"]

    target = np.array(SCORES)
    precisions = []
    for c in (0, 2, 3):  # class 1 has no positive
        known = target[:, c] >= 0
        precisions.append(average_precision_score(target[known, c], logits[known, c]))
    assert result == pytest.approx(100 * np.mean(precisions), abs=1e-5)
