"""VOC-LT from VOC's own files."""

import pytest

from capnet_mm import preparation
from capnet_mm.datasets import VOCLT, ImageListDataset
from capnet_mm.preparation.voc import read_voc_annotation

NAMES = VOCLT.METAINFO["classes"]
OBJECT = """
    <object>
        <name>{name}</name>
        <pose>Unspecified</pose>
        <truncated>0</truncated>
        <difficult>{difficult}</difficult>
        <bndbox><xmin>8</xmin><ymin>12</ymin><xmax>352</xmax><ymax>498</ymax></bndbox>
        {more}
    </object>"""
PART = "<part><name>head</name><bndbox><xmin>9</xmin></bndbox></part>"


def annotation(image_id, objects):
    """VOC's XML of one image; objects are (class, difficult)."""
    body = "".join(
        OBJECT.format(name=name, difficult=flag, more=PART * (name == "person"))
        for name, flag in objects
    )
    return (
        f"<annotation>\n<folder>VOC</folder><filename>{image_id}.jpg</filename>"
        "<size><width>353</width><height>500</height><depth>3</depth></size>"
        f"{body}\n</annotation>\n"
    )


IMAGES = {
    "2008_000023": [("person", 0), ("bottle", 0), ("bottle", 1)],
    "2008_000028": [("bus", 1)],
    "000001": [("dog", 0), ("person", 0)],
    "000002": [("train", 0), ("cow", 1)],
}


@pytest.fixture
def root(tmp_path):
    """The folders of VOC2012 trainval and VOC2007 test, two images each."""
    for image_id, objects in IMAGES.items():
        year = "VOC2012" if "_" in image_id else "VOC2007"
        folder = tmp_path / "VOCdevkit" / year
        for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "Annotations" / f"{image_id}.xml").write_text(
            annotation(image_id, objects)
        )
        (folder / "JPEGImages" / f"{image_id}.jpg").write_bytes(image_id.encode())
    sets = tmp_path / "VOCdevkit/VOC2007/ImageSets/Main"
    (sets / "test.txt").write_text("000001\n000002\n")
    (tmp_path / "img_id.txt").write_text("2008_000028\n2008_000023\n")
    return tmp_path


def names_of(labelled_set, split):
    return {
        image.path.rpartition("/")[2]: {NAMES[label] for label in image.labels}
        for image in labelled_set.splits[split]
    }


def test_ids_take_their_labels_from_the_annotations(root):
    found = preparation.read_voc_lt(root)
    assert names_of(found, "train") == {
        "2008_000028.jpg": {"bus"},
        "2008_000023.jpg": {"person", "bottle"},
    }
    assert names_of(found, "test") == {
        "000001.jpg": {"dog", "person"},
        "000002.jpg": {"train", "cow"},
    }
    assert [image.path for image in found.splits["train"]] == [
        "VOCdevkit/VOC2012/JPEGImages/2008_000028.jpg",
        "VOCdevkit/VOC2012/JPEGImages/2008_000023.jpg",
    ]
    assert found.differences == found.notes == []


def test_difficult_objects_count_unless_told_otherwise(root):
    negative = preparation.read_voc_lt(root, difficult="negative")
    assert names_of(negative, "train")["2008_000028.jpg"] == set()
    assert names_of(negative, "train")["2008_000023.jpg"] == {"person", "bottle"}
    unknown = preparation.read_voc_lt(root, difficult="unknown").splits["test"][1]
    assert unknown.labels == (NAMES.index("train"),)
    assert unknown.unknown == (NAMES.index("cow"),)


def test_parts_of_persons_are_no_objects(root):
    path = root / "VOCdevkit/VOC2012/Annotations/2008_000023.xml"
    assert "<name>head</name>" in path.read_text()
    assert read_voc_annotation(path) == ((4, 14), ())


@pytest.mark.parametrize("prefer", ["list", "annotations"])
def test_list_and_annotations_are_compared_and_the_preferred_one_taken(root, prefer):
    (root / "voc_lt_train.txt").write_text(
        "VOCdevkit/VOC2012/JPEGImages/2008_000023.jpg 14 4 14\n"
        "VOCdevkit/VOC2012/JPEGImages/2008_000028.jpg 6\n"
    )
    found = preparation.read_voc_lt(root, labels=prefer)
    (difference,) = found.differences
    assert difference.path.endswith("2008_000028.jpg")
    assert (difference.split, difference.listed, difference.derived) == (
        "train",
        (6,),
        (5,),
    )
    expected = "car" if prefer == "list" else "bus"
    assert names_of(found, "train")["2008_000028.jpg"] == {expected}
    text = preparation.format_report(preparation.check_set(found, root))
    assert "the list has car; by the annotations bus" in text


def test_a_list_with_labels_needs_no_annotations(root):
    (root / "VOCdevkit/VOC2012/Annotations/2008_000028.xml").unlink()
    with pytest.raises(
        FileNotFoundError, match="img_id.txt, line 1: .*2008_000028.xml"
    ):
        preparation.read_voc_lt(root)
    (root / "voc_lt_train.txt").write_text(
        "x/2008_000028.jpg 5\nx/2008_000023.jpg 4 14"
    )
    found = preparation.read_voc_lt(root)
    assert names_of(found, "train")["2008_000028.jpg"] == {"bus"}
    assert found.notes[0].startswith("train: 1 of 2 images have no annotation")
    with pytest.raises(FileNotFoundError, match="2008_000028.xml"):
        preparation.read_voc_lt(root, labels="annotations")
    with pytest.raises(ValueError, match="difficult='unknown' has no effect"):
        preparation.read_voc_lt(root, difficult="unknown")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "<annotation>\n<object>\n",
            "2008_000023.xml, line 3, column 0: not valid XML",
        ),
        ("<html></html>", "2008_000023.xml: the root element is <html>"),
        (annotation("x", [("cow", 0), ("unicorn", 0)]), "xml, object 2: .*'unicorn'"),
        (annotation("x", [("cow", 2)]), r"xml, object 1 \(cow\): <difficult> is '2'"),
    ],
)
def test_wrong_place_of_an_annotation_is_named(root, text, message):
    (root / "VOCdevkit/VOC2012/Annotations/2008_000023.xml").write_text(text)
    with pytest.raises(ValueError, match=message):
        preparation.read_voc_lt(root)


def test_a_missing_list_is_asked_for(root):
    (root / "img_id.txt").unlink()
    with pytest.raises(
        FileNotFoundError, match="voc_lt_train.txt, img_id.txt.*--train"
    ):
        preparation.read_voc_lt(root)
    with pytest.raises(FileNotFoundError, match="no data root .*nowhere"):
        preparation.read_voc_lt(root / "nowhere")


def test_written_files_are_what_voclt_reads_by_default(root):
    # A text list of the same name is there too: the prepared one is the checked one.
    (root / "voc_lt_train.txt").write_text("x/2008_000028.jpg 5\n")
    found = preparation.read_voc_lt(root, train_list=root / "img_id.txt")
    preparation.write_set(found, root)
    train, test = VOCLT(data_root=str(root)), VOCLT(data_root=str(root), test_mode=True)
    assert (len(train), len(test)) == (2, 2)
    assert train.get_cat_ids(1) == [4, 14]
    assert train.metainfo["class_counts"][NAMES.index("bus")] == 1
    assert test.metainfo == train.metainfo


def test_written_files_hold_the_prompt_names_that_vocs_have_nowhere_else(root):
    preparation.write_set(preparation.read_voc_lt(root), root)
    written = ImageListDataset("voc_lt_train.json", data_root=str(root)).metainfo
    names = dict(zip(written["classes"], written["prompt_names"], strict=True))
    assert (names["sofa"], names["tvmonitor"]) == ("couch", "tv")
    (root / "classes.txt").write_text("\n".join(NAMES))
    (root / "own.txt").write_text("VOCdevkit/VOC2007/JPEGImages/000001.jpg 18\n")
    own = ImageListDataset("own.txt", data_root=str(root)).metainfo
    assert own["prompt_names"] == NAMES


def test_unknown_labels_are_written_and_read(root):
    preparation.write_set(preparation.read_voc_lt(root, difficult="unknown"), root)
    test = VOCLT(data_root=str(root), test_mode=True)
    score = test.get_data_info(1)["gt_score"]
    assert score[NAMES.index("train")] == 1
    assert score[NAMES.index("cow")] == -1


def test_the_official_lists_have_the_published_figures(shared_dir):
    splits = shared_dir / "data" / "splits"
    found = preparation.read_voc_lt(splits)
    report = preparation.check_set(found, splits, check_images=False)
    assert [figure.found for figure in report.published_numbers] == [
        *(1142, 4952, 2346, 4, 775),
        (6, 6, 8),
        0,
    ]
    assert "DIFFERS" not in preparation.format_report(report)


def test_the_written_official_lists_are_the_text_lists(shared_dir, tmp_path):
    splits = shared_dir / "data" / "splits"
    preparation.write_set(preparation.read_voc_lt(splits), tmp_path)
    for test_mode in (False, True):
        options = dict(check_images=False, test_mode=test_mode)
        ours = VOCLT(data_root=str(tmp_path), **options)
        theirs = VOCLT(data_root=str(splits), **options)
        assert ours.metainfo == theirs.metainfo
        assert [
            (info["img_path"].removeprefix(str(tmp_path)), info["gt_label"])
            for info in ours
        ] == [
            (info["img_path"].removeprefix(str(splits)), info["gt_label"])
            for info in theirs
        ]
