"""VOC-LT reads the official lists."""

import numpy as np
from mmpretrain.datasets import VOC

from capnet_mm.datasets import COCOLT, VOCLT

from .conftest import check_default_lists, group_sizes, number_of_labels


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


def test_class_counts_are_those_of_the_released_code(splits, shared_dir):
    metainfo = VOCLT(data_root=splits, check_images=False).metainfo
    with np.load(shared_dir / "reference" / "db_focal.npz") as reference:
        assert list(metainfo["class_counts"]) == reference["voc_class_counts"].tolist()
        assert metainfo["num_images"] == int(reference["voc_num_images"])


def test_voc_lt_has_the_class_names_of_mmpretrains_voc():
    assert VOCLT.METAINFO["classes"] == VOC.METAINFO["classes"]


def test_lists_and_groups_need_no_argument(tmp_path):
    check_default_lists("VOCLT", "voc_lt", tmp_path)


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
