"""Several lists as one data set: what adds up, and one order of the classes."""

import json

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, RepeatDataset, pseudo_collate
from mmengine.registry import init_default_scope
from mmpretrain.datasets import VOC
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import DATASETS
from PIL import Image
from torch.utils.data import ConcatDataset as TorchConcatDataset
from torch.utils.data import Subset

from capnet_mm.datasets import ConcatDataset, ImageListDataset
from capnet_mm.datasets.class_order import class_positions, reorder_classes
from capnet_mm.datasets.wrappers import (
    class_statistics,
    share_scores,
    stated_names,
)
from capnet_mm.models.heads.partial_labels import multi_label_targets

init_default_scope("mmpretrain")

PIPELINE = [dict(type="LoadImage"), dict(type="PackInputs")]
CLASSES = ["cat", "dog", "cow"]
FIRST = "0.png 0 1\n1.png 0\n2.png 2\n"
# Of the same pictures, in the order cow, cat, dog.
OTHER_ORDER = ["cow", "cat", "dog"]
SECOND = [([1, 2], []), ([1], [0]), ([0], [])]


@pytest.fixture
def root(tmp_path):
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{index}.png")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    (tmp_path / "first.txt").write_text(FIRST)
    data_list = [
        dict(img_path=f"{i}.png", gt_label=labels, gt_unknown=unknown)
        for i, (labels, unknown) in enumerate(SECOND)
    ]
    content = dict(metainfo=dict(classes=OTHER_ORDER), data_list=data_list)
    (tmp_path / "second.json").write_text(json.dumps(content))
    return tmp_path


def part(root, name="first.txt", **options):
    return dict(
        type="ImageListDataset",
        ann_file=name,
        data_root=str(root),
        pipeline=PIPELINE,
        head_threshold=3,
        tail_threshold=2,
        **options,
    )


def concatenated(*parts):
    return DATASETS.build(dict(type="ConcatDataset", datasets=list(parts)))


def test_counts_of_two_lists_are_added_and_groups_follow(root):
    dataset = concatenated(part(root), part(root))
    assert isinstance(dataset, ConcatDataset)
    metainfo = dataset.metainfo
    assert metainfo["class_counts"] == (4, 2, 2)
    assert metainfo["num_images"] == len(dataset) == 6
    assert metainfo["groups"] == dict(head=(0,), medium=(1, 2), tail=())


def test_parts_take_the_class_order_of_the_first(root):
    dataset = concatenated(part(root), part(root, "second.json"))
    assert dataset.metainfo["classes"] == tuple(CLASSES)
    first, second = dataset.datasets
    assert second.metainfo["classes"] == first.metainfo["classes"]
    labels = [dataset.get_data_info(i)["gt_label"] for i in range(6)]
    assert labels[3:] == labels[:3] == [[0, 1], [0], [2]]
    assert dataset.metainfo["class_counts"] == (4, 2, 2)


def test_other_names_are_refused_with_both_lists(root):
    with pytest.raises(ValueError, match=r"part 1 .*\['bird'\].*\['cow'\].*\['cat', "):
        concatenated(part(root), part(root, classes=["cat", "dog", "bird"]))


@pytest.mark.parametrize("order", [[0, 3], [3, 0], [4, 1], [1, 4]])
def test_a_list_with_unknown_labels_beside_one_without_trains_in_any_order(root, order):
    dataset = concatenated(part(root), part(root, "second.json"))
    batch = pseudo_collate([dataset[index] for index in order])
    samples = ClsDataPreprocessor()(batch, training=True)["data_samples"]
    rows = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 0, 1]] * 2)
    rows[4, 2] = -1
    assert torch.equal(multi_label_targets(samples, 3), rows[order])


def test_a_training_list_that_two_validation_parts_name_counts_once(root):
    test = dict(test_mode=True, train_ann_file="first.txt")
    dataset = concatenated(part(root, **test), part(root, "second.json", **test))
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


# ------------------------------------------------------- counts of wrappers


def test_a_subset_counts_its_own_images(root):
    dataset = ImageListDataset("first.txt", data_root=str(root))
    assert class_statistics(Subset(dataset, [1, 2]), "a loss") == ((1, 0, 1), 2)
    assert class_statistics(RepeatDataset(dataset, 3), "a loss") == ((2, 1, 1), 3)
    both = torch.utils.data.ConcatDataset([Subset(dataset, [0]), dataset])
    assert class_statistics(both, "a loss") == ((3, 2, 1), 4)


# ---------------------------------------------------------- class order


def test_a_json_list_in_another_order_is_renumbered_by_name(root):
    dataset = ImageListDataset(
        "second.json",
        classes=CLASSES,
        data_root=str(root),
        train_ann_file="second.json",
        test_mode=True,
    )
    infos = [dataset.get_data_info(i) for i in range(3)]
    assert [info["gt_label"] for info in infos] == [[0, 1], [0], [2]]
    assert infos[1]["gt_score"].tolist() == [1, 0, -1]
    assert dataset.metainfo["class_counts"] == (2, 1, 1)


@pytest.mark.parametrize("serialize", [True, False])
def test_all_that_a_data_set_says_of_its_classes_follows(root, serialize):
    dataset = ImageListDataset(
        "first.txt",
        data_root=str(root),
        train_ann_file="first.txt",
        head_threshold=2,
        tail_threshold=1,
        metainfo=dict(prompt_names=["a cat", "a dog", "a cow"]),
        serialize_data=serialize,
    )
    repeated = RepeatDataset(dataset, 2)
    assert reorder_classes(repeated, OTHER_ORDER, "the data set", "the model")
    for metainfo in (dataset.metainfo, repeated.metainfo):
        assert metainfo["classes"] == tuple(OTHER_ORDER)
        assert metainfo["prompt_names"] == ("a cow", "a cat", "a dog")
        assert metainfo["class_counts"] == (1, 2, 1)
        assert metainfo["groups"] == dict(head=(1,), medium=(0, 2), tail=())
    labels = [repeated.get_data_info(i)["gt_label"] for i in range(3)]
    assert labels == [[1, 2], [1], [0]]
    # A text list read again still numbers the classes as classes.txt has them.
    assert dataset.get_subset([0]).metainfo["class_counts"] == (1, 2, 1)
    assert not reorder_classes(repeated, OTHER_ORDER, "the data set", "the model")


def test_mmpretrains_own_data_sets_are_renumbered_too(root):
    content = json.loads((root / "second.json").read_text())
    for entry in content["data_list"]:
        del entry["gt_unknown"]
    (root / "plain.json").write_text(json.dumps(content))
    dataset = DATASETS.build(
        dict(type="MultiLabelDataset", ann_file="plain.json", data_root=str(root))
    )
    assert reorder_classes(dataset, CLASSES, "the data set", "the model")
    assert dataset.CLASSES == tuple(CLASSES)
    assert [dataset.get_cat_ids(i) for i in range(3)] == [[0, 1], [0], [2]]


def test_positions_are_by_name():
    assert class_positions("bca", "abc", "one", "another") == [1, 2, 0]


def test_difficult_labels_of_mmpretrains_voc_follow(tmp_path):
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/test.txt").write_text("1\n")
    (tmp_path / "Annotations").mkdir()
    objects = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult></object>"
        for name, difficult in (("cat", 0), ("dog", 1))
    )
    (tmp_path / "Annotations/1.xml").write_text(f"<annotation>{objects}</annotation>")
    dataset = VOC(str(tmp_path), split="test", test_mode=True)
    wanted = sorted(dataset.CLASSES, reverse=True)
    assert reorder_classes(dataset, wanted, "the data set", "the model")
    image = dataset.get_data_info(0)
    assert [wanted[label] for label in image["gt_label"]] == ["cat"]
    assert [wanted[label] for label in image["gt_label_difficult"]] == ["dog"]


def test_images_without_annotation_have_no_labels_to_renumber():
    class Unlabelled(BaseDataset):
        METAINFO = dict(classes=CLASSES)

        def load_data_list(self):
            return [dict(img_path="0.png", gt_label=None)]

    dataset = Unlabelled(ann_file="")
    assert reorder_classes(dataset, OTHER_ORDER, "the data set", "the model")
    assert dataset.get_data_info(0)["gt_label"] is None


def test_a_wrapper_around_a_data_set_that_is_renumbered_already_follows(root):
    dataset = DATASETS.build(part(root))
    repeated = RepeatDataset(dataset, 2)
    reorder_classes(dataset, OTHER_ORDER, "the data set", "the model")
    reorder_classes(repeated, OTHER_ORDER, "the data set", "the model")
    assert repeated.metainfo["classes"] == tuple(OTHER_ORDER)
    assert repeated.metainfo["class_counts"] == (1, 2, 1)


def test_repeated_names_in_another_order_are_refused():
    with pytest.raises(ValueError, match=r"one repeats the class names \['a'\]"):
        class_positions("aab", "aba", "one", "another")


def test_names_are_found_in_wrappers_without_metainfo(root):
    first, second = (DATASETS.build(part(root, classes=CLASSES)) for _ in range(2))
    names = dict(classes=tuple(CLASSES), prompt_names=tuple(CLASSES))
    for dataset in (first, Subset(first, [1]), TorchConcatDataset([first, second])):
        assert stated_names(dataset) == names


def test_a_data_set_without_scores_beside_unknown_labels_is_refused(root):
    class Plain(BaseDataset):
        def load_data_list(self):
            return [dict(img_path="0.png", gt_label=[0])]

    unknown = DATASETS.build(part(root, "second.json"))
    with pytest.raises(ValueError, match="Plain stands beside a list with unknown"):
        share_scores(TorchConcatDataset([Plain(ann_file=""), unknown]))


def test_scores_in_a_json_list_are_reordered_with_its_labels(root):
    score = [0.0, 0.75, 0.25]  # in the order cow, cat, dog
    entry = dict(img_path="0.png", gt_label=[1, 2], gt_score=score)
    content = dict(metainfo=dict(classes=OTHER_ORDER), data_list=[entry])
    (root / "soft.json").write_text(json.dumps(content))
    dataset = DATASETS.build(part(root, "soft.json", classes=CLASSES))
    assert dataset[0]["data_samples"].gt_label.tolist() == [0, 1]
    assert dataset[0]["data_samples"].gt_score.tolist() == [0.75, 0.25, 0.0]


@pytest.mark.parametrize("option", ["classes", "metainfo"])
def test_lists_of_a_class_that_states_its_classes_are_numbered_as_it_has_them(
    root, option
):
    class Official(ImageListDataset):
        METAINFO = dict(classes=CLASSES)

    def make(classes):
        given = classes if option == "classes" else dict(classes=classes)
        return Official("first.txt", data_root=str(root), **{option: given})

    reordered = make(OTHER_ORDER)
    assert reordered.metainfo["classes"] == tuple(OTHER_ORDER)
    assert reordered.metainfo["class_counts"] == (1, 2, 1)
    assert [reordered.get_cat_ids(i) for i in range(3)] == [[1, 2], [1], [0]]
    renamed = make(["Katze", "Hund", "Kuh"])
    assert [renamed.get_cat_ids(i) for i in range(3)] == [[0, 1], [0], [2]]
