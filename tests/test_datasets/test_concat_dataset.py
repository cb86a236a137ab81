"""Several lists as one data set: what adds up, and one order of the classes."""

import pytest
import torch
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.registry import init_default_scope
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import DATASETS

from capnet_mm.datasets import ConcatDataset
from capnet_mm.models.heads.partial_labels import multi_label_targets

from .conftest import CLASSES

init_default_scope("mmpretrain")

PIPELINE = [dict(type="LoadImage"), dict(type="PackInputs")]


def part(two_lists, name="first.txt", **options):
    return dict(
        type="ImageListDataset",
        ann_file=name,
        data_root=str(two_lists),
        pipeline=PIPELINE,
        head_threshold=3,
        tail_threshold=2,
        **options,
    )


def concatenated(*parts):
    return DATASETS.build(dict(type="ConcatDataset", datasets=list(parts)))


def test_counts_of_two_lists_are_added_and_groups_follow(two_lists):
    dataset = concatenated(part(two_lists), part(two_lists))
    assert isinstance(dataset, ConcatDataset)
    metainfo = dataset.metainfo
    assert metainfo["class_counts"] == (4, 2, 2)
    assert metainfo["num_images"] == len(dataset) == 6
    assert metainfo["groups"] == dict(head=(0,), medium=(1, 2), tail=())


def test_parts_take_the_class_order_of_the_first(two_lists):
    dataset = concatenated(part(two_lists), part(two_lists, "second.json"))
    assert dataset.metainfo["classes"] == tuple(CLASSES)
    first, second = dataset.datasets
    assert second.metainfo["classes"] == first.metainfo["classes"]
    labels = [dataset.get_data_info(i)["gt_label"] for i in range(6)]
    assert labels[3:] == labels[:3] == [[0, 1], [0], [2]]
    assert dataset.metainfo["class_counts"] == (4, 2, 2)


def test_other_names_are_refused_with_both_lists(two_lists):
    with pytest.raises(ValueError, match=r"part 1 .*\['bird'\].*\['cow'\].*\['cat', "):
        concatenated(part(two_lists), part(two_lists, classes=["cat", "dog", "bird"]))


@pytest.mark.parametrize("order", [[0, 3], [3, 0], [4, 1], [1, 4]])
def test_a_list_with_unknown_labels_beside_one_without_trains_in_any_order(
    two_lists, order
):
    dataset = concatenated(part(two_lists), part(two_lists, "second.json"))
    batch = pseudo_collate([dataset[index] for index in order])
    samples = ClsDataPreprocessor()(batch, training=True)["data_samples"]
    rows = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 0, 1]] * 2)
    rows[4, 2] = -1
    assert torch.equal(multi_label_targets(samples, 3), rows[order])


def test_a_training_list_that_two_validation_parts_name_counts_once(two_lists):
    test = dict(test_mode=True, train_ann_file="first.txt")
    dataset = concatenated(
        part(two_lists, **test), part(two_lists, "second.json", **test)
    )
    assert dataset.metainfo["class_counts"] == (2, 1, 1)
    assert dataset.metainfo["num_images"] == 3
    assert len(dataset) == 6


def test_parts_that_count_nothing_are_concatenated_as_by_mmengine():
    class Points(BaseDataset):
        def load_data_list(self):
            return [dict(x=0)]

    dataset = ConcatDataset([Points(metainfo=dict(a=1)), Points(metainfo=dict(a=1))])
    assert dataset.metainfo == dict(a=1) and len(dataset) == 2
    with pytest.raises(ValueError, match="meta information"):
        ConcatDataset([Points(metainfo=dict(a=1)), Points(metainfo=dict(a=2))])
