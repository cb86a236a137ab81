"""One order of the classes."""

import json

import pytest
from mmengine.dataset import BaseDataset, RepeatDataset
from mmengine.registry import init_default_scope
from mmpretrain.datasets import VOC
from mmpretrain.registry import DATASETS

from capnet_mm.datasets import ImageListDataset
from capnet_mm.datasets.class_order import class_positions, reorder_classes

from .conftest import CLASSES, OTHER_ORDER

init_default_scope("mmpretrain")


def test_a_json_list_in_another_order_is_renumbered_by_name(two_lists):
    dataset = ImageListDataset(
        "second.json",
        classes=CLASSES,
        data_root=str(two_lists),
        train_ann_file="second.json",
        test_mode=True,
    )
    infos = [dataset.get_data_info(i) for i in range(3)]
    assert [info["gt_label"] for info in infos] == [[0, 1], [0], [2]]
    assert infos[1]["gt_score"].tolist() == [1, 0, -1]
    assert dataset.metainfo["class_counts"] == (2, 1, 1)


@pytest.mark.parametrize("serialize", [True, False])
def test_all_that_a_data_set_says_of_its_classes_follows(two_lists, serialize):
    dataset = ImageListDataset(
        "first.txt",
        data_root=str(two_lists),
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


def test_mmpretrains_own_data_sets_are_renumbered_too(two_lists):
    content = json.loads((two_lists / "second.json").read_text())
    for entry in content["data_list"]:
        del entry["gt_unknown"]
    (two_lists / "plain.json").write_text(json.dumps(content))
    dataset = DATASETS.build(
        dict(type="MultiLabelDataset", ann_file="plain.json", data_root=str(two_lists))
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


def test_a_wrapper_around_a_data_set_that_is_renumbered_already_follows(two_lists):
    options = dict(data_root=str(two_lists), classes=CLASSES)
    dataset = ImageListDataset("first.txt", **options)
    repeated = RepeatDataset(dataset, 2)
    reorder_classes(dataset, OTHER_ORDER, "the data set", "the model")
    reorder_classes(repeated, OTHER_ORDER, "the data set", "the model")
    assert repeated.metainfo["classes"] == tuple(OTHER_ORDER)
    assert repeated.metainfo["class_counts"] == (1, 2, 1)


def test_repeated_names_in_another_order_are_refused():
    with pytest.raises(ValueError, match=r"one repeats the class names \['a'\]"):
        class_positions("aab", "aba", "one", "another")


def test_scores_in_a_json_list_are_reordered_with_its_labels(two_lists):
    score = [0.0, 0.75, 0.25]  # in the order cow, cat, dog
    entry = dict(img_path="0.png", gt_label=[1, 2], gt_score=score)
    content = dict(metainfo=dict(classes=OTHER_ORDER), data_list=[entry])
    (two_lists / "soft.json").write_text(json.dumps(content))
    dataset = ImageListDataset(
        "soft.json",
        data_root=str(two_lists),
        classes=CLASSES,
        pipeline=[dict(type="LoadImage"), dict(type="PackInputs")],
    )
    assert dataset[0]["data_samples"].gt_label.tolist() == [0, 1]
    assert dataset[0]["data_samples"].gt_score.tolist() == [0.75, 0.25, 0.0]


@pytest.mark.parametrize("option", ["classes", "metainfo"])
def test_lists_of_a_class_that_states_its_classes_are_numbered_as_it_has_them(
    two_lists, option
):
    class Official(ImageListDataset):
        METAINFO = dict(classes=CLASSES)

    def make(classes):
        given = classes if option == "classes" else dict(classes=classes)
        return Official("first.txt", data_root=str(two_lists), **{option: given})

    reordered = make(OTHER_ORDER)
    assert reordered.metainfo["classes"] == tuple(OTHER_ORDER)
    assert reordered.metainfo["class_counts"] == (1, 2, 1)
    assert [reordered.get_cat_ids(i) for i in range(3)] == [[1, 2], [1], [0]]
    renamed = make(["Katze", "Hund", "Kuh"])
    assert [renamed.get_cat_ids(i) for i in range(3)] == [[0, 1], [0], [2]]
