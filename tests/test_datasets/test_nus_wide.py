"""NUS-WIDE."""

import json

from capnet_mm.datasets import NUSWIDE

NAMES = NUSWIDE.METAINFO["classes"]


def test_there_are_81_concepts_in_alphabetical_order_with_readable_names():
    assert len(NAMES) == len(set(NAMES)) == 81
    assert list(NAMES) == sorted(NAMES)  # as Concepts81.txt has them
    readable = dict(zip(NAMES, NUSWIDE.METAINFO["prompt_names"], strict=True))
    assert len(set(readable.values())) == 81
    assert (readable["birds"], readable["plane"]) == ("bird", "airplane")
    assert readable["zebra"] == "zebra"


def test_lists_are_found_and_labels_are_positions_in_the_list_of_concepts(tmp_path):
    for split, label in (("train", NAMES.index("sky")), ("test", 0)):
        content = dict(
            metainfo=dict(classes=NAMES),
            data_list=[dict(img_path="Flickr/a/1.jpg", gt_label=[label])],
        )
        (tmp_path / f"nus_wide_{split}.json").write_text(json.dumps(content))
    options = dict(data_root=str(tmp_path), check_images=False)
    train, test = NUSWIDE(**options), NUSWIDE(**options, test_mode=True)
    assert train.get_cat_ids(0) == [55] and test.get_cat_ids(0) == [0]
    assert test.metainfo["class_counts"] == train.metainfo["class_counts"]
    assert train.metainfo["class_counts"][55] == 1
