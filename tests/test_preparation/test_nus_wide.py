"""NUS-WIDE from its published files and from lists."""

import pytest
from mmpretrain.registry import DATASETS

from capnet_mm import preparation
from capnet_mm.datasets import NUSWIDE

NAMES = NUSWIDE.METAINFO["classes"]
TRAIN = {"actor\\0001_2124494179.jpg": {"person", "sky"}, "zoo\\0002_1.jpg": set()}
TEST = {"zoo\\0003_5.jpg": {"zebra", "animal"}}


@pytest.fixture
def root(tmp_path):
    """What ImageList, Groundtruth and ConceptsList unpack to."""
    for name in ("ImageList", "Groundtruth/TrainTestLabels", "ConceptsList"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "ConceptsList/Concepts81.txt").write_text("\r\n".join(NAMES) + "\r\n")
    for title, images in (("Train", TRAIN), ("Test", TEST)):
        (tmp_path / f"ImageList/{title}Imagelist.txt").write_text(
            "".join(f"{path}\r\n" for path in images)
        )
        for name in NAMES:
            path = tmp_path / f"Groundtruth/TrainTestLabels/Labels_{name}_{title}.txt"
            path.write_text(
                "".join(f"{int(name in labels)}\n" for labels in images.values())
            )
    return tmp_path


def names_of(labelled_set, split):
    return {
        image.path: {NAMES[label] for label in image.labels}
        for image in labelled_set.splits[split]
    }


def test_columns_of_zeros_and_ones_become_labels(root):
    found = preparation.read_nus_wide(root)
    assert names_of(found, "train") == {
        "Flickr/actor/0001_2124494179.jpg": {"person", "sky"},
        "Flickr/zoo/0002_1.jpg": set(),
    }
    assert names_of(found, "test") == {"Flickr/zoo/0003_5.jpg": {"zebra", "animal"}}
    assert found.notes == found.differences == []


def test_the_files_of_all_images_are_compared(root):
    everything = {**TRAIN, **TEST, "zoo\\0004_7.jpg": set()}
    (root / "ImageList/Imagelist.txt").write_text("\n".join(everything))
    found = preparation.read_nus_wide(root)
    assert "1 are in neither" in found.notes[0]
    (root / "Groundtruth/AllLabels").mkdir()
    everything["zoo\\0003_5.jpg"] = {"zebra"}
    for name in NAMES:
        (root / f"Groundtruth/AllLabels/Labels_{name}.txt").write_text(
            "\n".join(str(int(name in labels)) for labels in everything.values())
        )
    found = preparation.read_nus_wide(root)
    (difference,) = found.differences
    assert [NAMES[label] for label in difference.listed] == ["animal", "zebra"]
    assert [NAMES[label] for label in difference.derived] == ["zebra"]
    assert names_of(found, "test") == {"Flickr/zoo/0003_5.jpg": {"zebra", "animal"}}


def test_archives_may_be_unpacked_into_a_folder_of_their_name(root):
    (root / "inner").mkdir()
    (root / "ImageList").rename(root / "inner/ImageList")
    (root / "inner").rename(root / "ImageList")
    (root / "ConceptsList/Concepts81.txt").rename(root / "Concepts81.txt")
    assert len(preparation.read_nus_wide(root).splits["train"]) == 2


def test_lists_give_labels_by_name_or_by_number(root):
    train, test = root / "train.txt", root / "test.txt"
    train.write_text(
        "actor/0001_2124494179.jpg,person sky\n"
        "zoo\\0002_1.jpg,\n\n"
        "C:\\ImageData\\Flickr\\zoo\\0007_9.jpg,zebra\n"
    )
    test.write_text("zoo/0003_5.jpg 80 1\nzoo/0004_7.jpg\n")
    found = preparation.read_nus_wide(
        root, image_dir="images", train_list=train, test_list=test
    )
    assert names_of(found, "train") == {
        "images/actor/0001_2124494179.jpg": {"person", "sky"},
        "images/zoo/0002_1.jpg": set(),
        "images/zoo/0007_9.jpg": {"zebra"},
    }
    assert names_of(found, "test") == {
        "images/zoo/0003_5.jpg": {"animal", "zebra"},
        "images/zoo/0004_7.jpg": set(),
    }
    with pytest.raises(ValueError, match="One list alone"):
        preparation.read_nus_wide(root, train_list=train)


TABLE = """filepath,label,split_name
images/0001_2.jpg,"['person', 'sky']",train
images/0003_5.jpg,['zebra'],val
"""


def test_ml_decoders_table_is_read_in_place_of_lists(root):
    table = root / "nus_wid_data.csv"
    table.write_text(TABLE)
    found = preparation.read_nus_wide(root, image_dir="", table=table)
    assert names_of(found, "train") == {"images/0001_2.jpg": {"person", "sky"}}
    assert names_of(found, "test") == {"images/0003_5.jpg": {"zebra"}}
    assert found.sources[0]["path"] == "nus_wid_data.csv"
    with pytest.raises(ValueError, match="not both"):
        preparation.read_nus_wide(root, train_list=table, test_list=table, table=table)
    for wrong, message in (
        (TABLE.replace("zebra", "unicorn"), "csv, line 3: label 'unicorn' is none of"),
        (
            TABLE.replace("0003_5", "0001_2"),
            "csv, line 3: image .*1_2.jpg' is already at .*csv, line 2",
        ),
        (TABLE.replace("label", "labels"), "csv, line 1: there is no column 'label'"),
    ):
        table.write_text(wrong)
        with pytest.raises(ValueError, match=message):
            preparation.read_nus_wide(root, table=table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,person unicorn\n", "line 1: label 'unicorn' is none of the 81 classes"),
        (
            "a.jpg 1\nb.jpg 81\n",
            "train.txt, line 2: label '81' is .* no number from 0 to 80",
        ),
        (
            "a.jpg 1\na.jpg 2\n",
            "train.txt, line 2: image 'a.jpg' is already at .*, line 1",
        ),
        ("\n", "train.txt is empty"),
    ],
)
def test_wrong_line_of_a_list_is_named(root, text, message):
    path = root / "train.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        preparation.read_nus_wide(root, train_list=path, test_list=path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "Groundtruth/TrainTestLabels/Labels_sky_Train.txt",
            "1\n",
            "1 lines, but .* 2",
        ),
        (
            "Groundtruth/TrainTestLabels/Labels_sky_Train.txt",
            "1\n2\n",
            "line 2: expected",
        ),
        (
            "ImageList/TrainImagelist.txt",
            "a\\b.jpg\na/b.jpg\n",
            "line 2: image 'a/b.jpg' is already at .*, line 1",
        ),
        ("ImageList/TrainImagelist.txt", "a.jpg\n\nb.jpg\n", "txt, line 2 is empty"),
        ("ImageList/TestImagelist.txt", "", "TestImagelist.txt is empty"),
        ("ConceptsList/Concepts81.txt", "airport\n", "names 1 concepts, expected 81"),
    ],
)
def test_wrong_published_file_is_named(root, name, text, message):
    (root / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        preparation.read_nus_wide(root)


def test_concepts_in_another_order_are_refused(root):
    names = ["animal", "airport", *NAMES[2:]]
    (root / "ConceptsList/Concepts81.txt").write_text("\n".join(names))
    with pytest.raises(
        ValueError, match="line 1: concept 'animal', expected 'airport'"
    ):
        preparation.read_nus_wide(root)


def test_a_missing_label_file_is_named(root):
    (root / "Groundtruth/TrainTestLabels/Labels_zebra_Test.txt").unlink()
    with pytest.raises(FileNotFoundError, match="Labels_zebra_Test.txt: unpack Ground"):
        preparation.read_nus_wide(root)


def test_images_without_concepts_can_be_left_out(root):
    found = preparation.read_nus_wide(root)
    preparation.drop_unlabelled(found)
    assert list(names_of(found, "train")) == ["Flickr/actor/0001_2124494179.jpg"]
    assert found.notes == ["train: 1 images without any label were left out."]


def test_written_files_are_what_nuswide_reads_by_default(root):
    preparation.write_set(preparation.read_nus_wide(root), root)
    config = dict(type="NUSWIDE", data_root=str(root), check_images=False)
    train = DATASETS.build(config)
    test = DATASETS.build(dict(config, test_mode=True))
    assert [NAMES[label] for label in train.get_cat_ids(0)] == ["person", "sky"]
    assert train.metainfo["class_counts"][NAMES.index("sky")] == 1
    assert test.metainfo == train.metainfo
