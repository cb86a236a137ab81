"""COCO-LT from COCO's own files."""

import json

import pytest

from capnet_mm import preparation
from capnet_mm.datasets import COCOLT
from capnet_mm.preparation.coco import read_coco_instances

NAMES = COCOLT.METAINFO["classes"]
# COCO's category ids have gaps.
CATEGORIES = [
    dict(supercategory="person", id=1, name="person"),
    dict(supercategory="animal", id=18, name="dog"),
    dict(supercategory="indoor", id=90, name="toothbrush"),
    dict(supercategory="vehicle", id=2, name="bicycle"),
]


def instance(image_id, category_id, **changes):
    return dict(
        dict(
            segmentation=[[10.0, 10.0, 20.0, 10.0, 20.0, 20.0]],
            area=50.0,
            iscrowd=0,
            image_id=image_id,
            bbox=[10.0, 10.0, 10.0, 10.0],
            category_id=category_id,
            id=1000 * image_id + category_id,
        ),
        **changes,
    )


def instances(image_ids, annotations):
    return dict(
        info=dict(year=2017),
        licenses=[],
        images=[
            dict(id=number, file_name=f"{number:012d}.jpg", height=480, width=640)
            for number in image_ids
        ],
        annotations=annotations,
        categories=CATEGORIES,
    )


TRAIN = [
    instance(9, 90),
    instance(9, 1),
    instance(9, 1),
    instance(25, 18, iscrowd=1, segmentation=dict(counts=[1, 2], size=[480, 640])),
    instance(25, 1, area=0.0),
    instance(25, 2, bbox=[1.0, 1.0, 0.6, 30.0]),
    instance(25, 90, bbox=[1.0, 1.0, 30.0, 0.99]),
    instance(25, 90, ignore=1),
    instance(30, 2, bbox=[0, 0, 1, 1], area=1),
]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "annotations").mkdir()
    for name, content in (
        ("train2017", instances([30, 9, 25], TRAIN)),
        ("val2017", instances([139, 285], [instance(139, 18)])),
    ):
        path = tmp_path / "annotations" / f"instances_{name}.json"
        path.write_text(json.dumps(content))
    (tmp_path / "img_id.pkl").write_text("25\n9\n")
    return tmp_path


def names_of(labelled_set, split):
    return {
        image.path: {NAMES[label] for label in image.labels}
        for image in labelled_set.splits[split]
    }


def test_ids_take_their_labels_from_the_annotations(root):
    found = preparation.read_coco_lt(root)
    assert names_of(found, "train") == {
        "train2017/000000000025.jpg": {"dog"},
        "train2017/000000000009.jpg": {"person", "toothbrush"},
    }


def test_without_a_test_list_all_of_val2017_is_test_also_images_without_objects(root):
    assert names_of(preparation.read_coco_lt(root), "test") == {
        "val2017/000000000139.jpg": {"dog"},
        "val2017/000000000285.jpg": set(),
    }


def test_crowds_count_and_ignored_empty_and_subpixel_boxes_do_not(root):
    found = read_coco_instances(root / "annotations/instances_train2017.json")
    assert found.labels[25] == (NAMES.index("dog"),)
    assert found.labels[30] == (NAMES.index("bicycle"),)  # exactly one pixel


def test_list_and_annotations_are_compared(root):
    (root / "coco_lt_train.txt").write_text(
        "train2017/000000000009.jpg 79 0\ntrain2017/000000000030.jpg 0\n"
    )
    found = preparation.read_coco_lt(root)
    (difference,) = found.differences
    assert difference.path == "train2017/000000000030.jpg"
    assert (difference.listed, difference.derived) == ((0,), (1,))
    assert names_of(found, "train")[difference.path] == {"person"}
    found = preparation.read_coco_lt(root, labels="annotations")
    assert names_of(found, "train")[difference.path] == {"bicycle"}


def test_lists_with_labels_need_no_annotations(root):
    for path in (root / "annotations").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="instances_train2017.json"):
        preparation.read_coco_lt(root)
    (root / "coco_lt_train.txt").write_text("train2017/000000000009.jpg 79 0\n")
    with pytest.raises(FileNotFoundError, match="instances_val2017.json"):
        preparation.read_coco_lt(root)
    (root / "coco_lt_test.txt").write_text("val2017/000000000139.jpg\n")
    found = preparation.read_coco_lt(root)
    assert names_of(found, "test") == {"val2017/000000000139.jpg": set()}
    assert len(found.notes) == 2


def test_an_image_that_the_annotations_lack_is_named(root):
    (root / "img_id.pkl").write_text("25\n77\n")
    with pytest.raises(
        ValueError, match="img_id.pkl, line 2: image 77 is not in .*json"
    ):
        preparation.read_coco_lt(root)
    (root / "img_id.pkl").write_text("2008_000023\n")
    with pytest.raises(ValueError, match="line 1: '2008_000023' is no id of a COCO"):
        preparation.read_coco_lt(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("annotations"), "json has no list 'annotations'"),
        (
            lambda c: c["categories"][1].update(name="cactus"),
            r"categories\[1\]: 'cactus'",
        ),
        (
            lambda c: c["images"][1].update(id=30),
            r"images\[1\]: image 30 is already at .*images\[0\]",
        ),
        (
            lambda c: c["images"][2].pop("file_name"),
            r"images\[2\]: .*'file_name' \(str\)",
        ),
        (lambda c: c["annotations"][3].update(image_id=7), r"\[3\]: image_id 7"),
        (
            lambda c: c["annotations"][0].update(category_id=3),
            r"\[0\]: category_id 3 is",
        ),
        (
            lambda c: c["annotations"][2].update(bbox=[1, 2, 3]),
            r"\[2\]: expected 'bbox'",
        ),
        (lambda c: c["annotations"][2].pop("area"), r"\[2\]: expected 'bbox'"),
        (
            lambda c: c["annotations"][2].update(image_id="9"),
            r"\[2\]: .*'image_id' \(int",
        ),
    ],
)
def test_wrong_entry_of_the_annotations_is_named(root, change, message):
    path = root / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        preparation.read_coco_lt(root)


def test_annotations_that_are_cut_off_are_named(root):
    path = root / "annotations/instances_train2017.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match="instances_train2017.json is not valid JSON"):
        preparation.read_coco_lt(root)


def test_written_files_are_what_cocolt_reads_by_default(root):
    preparation.write_set(preparation.read_coco_lt(root), root)
    options = dict(data_root=str(root), check_images=False)
    train, test = COCOLT(**options), COCOLT(**options, test_mode=True)
    assert [train.get_cat_ids(index) for index in range(2)] == [[16], [0, 79]]
    assert [test.get_cat_ids(index) for index in range(2)] == [[16], []]
    assert test.metainfo == train.metainfo


def test_the_official_lists_have_the_published_figures(shared_dir):
    splits = shared_dir / "data" / "splits"
    found = preparation.read_coco_lt(splits)
    report = preparation.check_set(found, splits, check_images=False)
    assert [figure.found for figure in report.published_numbers] == [
        *(1909, 5000, 8316, 6, 1128),
        (22, 33, 25),
        48,
    ]
    assert "DIFFERS" not in preparation.format_report(report)
