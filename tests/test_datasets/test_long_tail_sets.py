"""VOC-LT and COCO-LT read the official lists."""

import pytest
from mmpretrain.datasets import VOC
from mmpretrain.registry import DATASETS

from capnet_mm.datasets import COCOLT, VOCLT, ImageListDataset


@pytest.fixture
def splits(shared_dir):
    return str(shared_dir / "data" / "splits")


def group_sizes(dataset):
    return {name: len(ids) for name, ids in dataset.metainfo["groups"].items()}


def number_of_labels(dataset):
    return sum(len(dataset.get_cat_ids(index)) for index in range(len(dataset)))


def test_voc_lt_has_the_published_counts(splits):
    train = VOCLT(data_root=splits, check_images=False)
    test = VOCLT(data_root=splits, check_images=False, test_mode=True)
    counts = dict(
        zip(train.metainfo["classes"], train.metainfo["class_counts"], strict=True)
    )
    assert (len(train), len(test)) == (1142, 4952)
    assert number_of_labels(train) == sum(counts.values()) == 2346
    assert (counts["cow"], counts["person"], counts["pottedplant"]) == (4, 775, 100)
    assert (min(counts.values()), max(counts.values())) == (4, 775)
    assert group_sizes(train) == dict(head=6, medium=6, tail=8)
    assert test.metainfo == train.metainfo


def test_coco_lt_has_the_published_counts(splits):
    train = COCOLT(data_root=splits, check_images=False)
    test = COCOLT(data_root=splits, check_images=False, test_mode=True)
    counts = dict(
        zip(train.metainfo["classes"], train.metainfo["class_counts"], strict=True)
    )
    assert (len(train), len(test)) == (1909, 5000)
    assert number_of_labels(train) == sum(counts.values()) == 8316
    assert (min(counts.values()), max(counts.values())) == (6, 1128)
    assert (counts["person"], counts["backpack"]) == (1128, 100)
    assert group_sizes(train) == dict(head=22, medium=33, tail=25)
    unlabelled = [index for index in range(5000) if not test.get_cat_ids(index)]
    assert len(unlabelled) == 48
    assert test.metainfo == train.metainfo


def test_class_counts_are_those_of_the_released_code(splits, shared_dir):
    import numpy as np

    with np.load(shared_dir / "reference" / "db_focal.npz") as reference:
        for name, dataset in (("voc", VOCLT), ("coco", COCOLT)):
            metainfo = dataset(data_root=splits, check_images=False).metainfo
            expected = reference[f"{name}_class_counts"].tolist()
            assert list(metainfo["class_counts"]) == expected
            assert metainfo["num_images"] == int(reference[f"{name}_num_images"])


def test_a_list_of_ones_own_with_real_images_is_counted(shared_dir):
    root = str(shared_dir / "data" / "voc_animals_lt")
    train = ImageListDataset("train.txt", data_root=root)
    val = ImageListDataset(
        "val.txt", data_root=root, train_ann_file="train.txt", test_mode=True
    )
    counts = dict(
        zip(train.metainfo["classes"], train.metainfo["class_counts"], strict=True)
    )
    assert (len(train), len(val)) == (1099, 892)
    assert (counts["dog"], counts["sheep"], counts["cow"]) == (413, 104, 97)
    assert (counts["car"], counts["pottedplant"], counts["bird"]) == (24, 19, 6)
    assert group_sizes(train) == dict(head=5, medium=4, tail=5)
    assert val.metainfo == train.metainfo


def test_voc_lt_has_the_class_names_of_mmpretrains_voc():
    assert VOCLT.METAINFO["classes"] == VOC.METAINFO["classes"]


def test_coco_class_names_are_cocos_own(shared_dir):
    names = (shared_dir / "data" / "coco_mini" / "classes.txt").read_text()
    assert COCOLT.METAINFO["classes"] == tuple(names.split("\n")[:80])


def test_coco_class_names_are_those_of_torchvision():
    categories = pytest.importorskip("torchvision.models._meta")._COCO_CATEGORIES
    names = tuple(name for name in categories if name not in ("__background__", "N/A"))
    assert COCOLT.METAINFO["classes"] == names


@pytest.mark.parametrize("name", ["VOCLT", "COCOLT"])
def test_lists_and_groups_need_no_argument(name, tmp_path):
    stem = name.lower().replace("lt", "_lt")
    (tmp_path / f"{stem}_train.txt").write_text(
        "".join(f"{index}.jpg 0\n" for index in range(30)) + "x.jpg 19 0\n"
    )
    (tmp_path / f"{stem}_test.txt").write_text("y.jpg 1\nz.jpg\n")
    config = dict(type=name, data_root=str(tmp_path), check_images=False)
    train = DATASETS.build(config)
    test = DATASETS.build(dict(config, test_mode=True))
    assert (len(train), len(test)) == (31, 2)
    assert train.metainfo["class_counts"][0] == 31
    assert train.metainfo["class_counts"][19] == 1
    assert train.metainfo["groups"]["medium"] == (0,)
    assert test.metainfo == train.metainfo


def test_a_training_list_of_ones_own_is_counted_itself(tmp_path):
    (tmp_path / "few.txt").write_text("x.jpg 19 0\n")
    train = VOCLT("few.txt", data_root=str(tmp_path), check_images=False)
    assert train.metainfo["num_images"] == 1


def test_vocs_prompt_names_are_cocos_names_of_the_same_classes():
    prompt_names = VOCLT.METAINFO["prompt_names"]
    readable = dict(zip(VOC.METAINFO["classes"], prompt_names, strict=True))
    # COCO took over all 20 classes of VOC: an independent spelling of them.
    assert len(set(prompt_names)) == 20
    assert set(prompt_names) <= set(COCOLT.METAINFO["classes"])
    assert {name: words for name, words in readable.items() if name != words} == {
        "aeroplane": "airplane",
        "diningtable": "dining table",
        "motorbike": "motorcycle",
        "pottedplant": "potted plant",
        "sofa": "couch",
        "tvmonitor": "tv",
    }


def test_some_of_vocs_classes_in_another_order_keep_their_prompt_names(tmp_path):
    (tmp_path / "few.txt").write_text("x.jpg 1\n")
    options = dict(data_root=str(tmp_path), check_images=False)
    dataset = VOCLT("few.txt", classes=["sofa", "traffic_cone", "cow"], **options)
    assert dataset.metainfo["prompt_names"] == ("couch", "traffic cone", "cow")
