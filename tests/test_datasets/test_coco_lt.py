"""COCO-LT reads the official lists."""

import numpy as np
import pytest

from capnet_mm.datasets import COCOLT

from .conftest import check_default_lists, group_sizes, number_of_labels


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
    metainfo = COCOLT(data_root=splits, check_images=False).metainfo
    with np.load(shared_dir / "reference" / "db_focal.npz") as reference:
        assert list(metainfo["class_counts"]) == reference["coco_class_counts"].tolist()
        assert metainfo["num_images"] == int(reference["coco_num_images"])


def test_lists_and_groups_need_no_argument(tmp_path):
    check_default_lists("COCOLT", "coco_lt", tmp_path)


def test_coco_class_names_are_cocos_own(shared_dir):
    names = (shared_dir / "data" / "coco_mini" / "classes.txt").read_text()
    assert COCOLT.METAINFO["classes"] == tuple(names.split("\n")[:80])


def test_coco_class_names_are_those_of_torchvision():
    categories = pytest.importorskip("torchvision.models._meta")._COCO_CATEGORIES
    names = tuple(name for name in categories if name not in ("__background__", "N/A"))
    assert COCOLT.METAINFO["classes"] == names
