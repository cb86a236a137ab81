"""What lies in the wrappers around data sets."""

import pytest
from mmengine.dataset import BaseDataset, RepeatDataset
from mmengine.registry import init_default_scope
from torch.utils.data import ConcatDataset, Subset

from capnet_mm.datasets import ImageListDataset
from capnet_mm.datasets.wrappers import (
    class_statistics,
    image_labels,
    share_scores,
    stated_names,
    unwrap_datasets,
)

from .conftest import CLASSES

init_default_scope("mmpretrain")


def test_a_subset_counts_its_own_images(two_lists):
    dataset = ImageListDataset("first.txt", data_root=str(two_lists))
    assert class_statistics(Subset(dataset, [1, 2]), "a loss") == ((1, 0, 1), 2)
    assert class_statistics(RepeatDataset(dataset, 3), "a loss") == ((2, 1, 1), 3)
    both = ConcatDataset([Subset(dataset, [0]), dataset])
    assert class_statistics(both, "a loss") == ((3, 2, 1), 4)


class Leaf(BaseDataset):
    """Three images, which tell their classes as MMPretrain's data sets do."""

    def load_data_list(self):
        return [dict(image=image) for image in range(3)]

    def get_cat_ids(self, index):
        return [[0], [1, 2], []][index]


def test_all_data_sets_are_found_in_any_wrapper():
    one, other = Leaf(), Leaf()
    nested = ConcatDataset([RepeatDataset(one, 2), Subset(Subset(other, [0, 1]), [1])])
    assert unwrap_datasets(nested) == [one, other]
    assert unwrap_datasets(one) == [one]


def test_labels_follow_the_order_in_which_wrappers_give_the_images():
    leaf = Leaf()
    repeated = RepeatDataset(leaf, 2)
    for dataset in (
        leaf,
        repeated,
        Subset(repeated, [5, 1, 3]),
        ConcatDataset([Subset(leaf, [1]), repeated]),
    ):
        images = [dataset[index]["image"] for index in range(len(dataset))]
        expected = [leaf.get_cat_ids(image) for image in images]
        assert image_labels(dataset, "a sampler") == expected


def test_who_needs_labels_or_counts_that_are_not_told_is_named():
    with pytest.raises(ValueError, match="A sampler needs .* list has no get_cat_ids"):
        image_labels([1, 2], "A sampler")
    with pytest.raises(ValueError, match="Leaf does not state class_counts and num_im"):
        class_statistics(Leaf(), "a loss")


def test_counts_of_different_numbers_of_classes_are_not_added():
    parts = [
        Leaf(metainfo=dict(class_counts=counts, num_images=3))
        for counts in ((3, 1), (2, 2, 2))
    ]
    with pytest.raises(ValueError, match=r"counts of \[2, 3\] classes"):
        class_statistics(ConcatDataset(parts), "a loss")


def test_names_are_found_in_wrappers_without_metainfo(two_lists):
    options = dict(data_root=str(two_lists), classes=CLASSES)
    first, second = (ImageListDataset("first.txt", **options) for _ in range(2))
    names = dict(classes=tuple(CLASSES), prompt_names=tuple(CLASSES))
    for dataset in (first, Subset(first, [1]), ConcatDataset([first, second])):
        assert stated_names(dataset) == names


def test_a_data_set_without_scores_beside_unknown_labels_is_refused(two_lists):
    class Plain(BaseDataset):
        def load_data_list(self):
            return [dict(img_path="0.png", gt_label=[0])]

    unknown = ImageListDataset("second.json", data_root=str(two_lists))
    with pytest.raises(ValueError, match="Plain stands beside a list with unknown"):
        share_scores(ConcatDataset([Plain(ann_file=""), unknown]))
