"""ImageListDataset: lists, metainfo, bad input, corrupt images."""

import copy
import io
import json
import logging
import multiprocessing
import pickle
import re

import numpy as np
import pytest
import torch
from mmengine.dataset import ClassBalancedDataset, pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from capnet_mm.datasets import CorruptImageError, ImageListDataset

from .conftest import group_sizes

init_default_scope("mmpretrain")

CLASSES = ("cat", "diningtable", "dog", "tvmonitor")
PIPELINE = [
    dict(type="LoadImage"),
    dict(type="Resize", scale=(16, 16)),
    dict(type="PackInputs"),
]


def jpeg(seed: int, size: tuple[int, int] = (40, 30)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def write_images(root, *names):
    (root / "images").mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        (root / "images" / name).write_bytes(jpeg(seed))


@pytest.fixture
def root(tmp_path):
    """Four images, one without labels and one with a label twice."""
    write_images(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    (tmp_path / "train.txt").write_text(
        "images/a.jpg 2 0\nimages/b.jpg\n\nimages/c.jpg 0 1 0\nimages/d.jpg 0\n"
    )
    return tmp_path


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.fixture
def warnings_of(caplog):
    """Texts that MMEngine's current logger warns with."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield lambda: [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING
    ]
    logger.removeHandler(caplog.handler)


# ------------------------------------------------------------------ reading


def test_text_list_gives_paths_and_sorted_unique_labels(root):
    dataset = ImageListDataset("train.txt", data_root=str(root))
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [info["gt_label"] for info in infos] == [[0, 2], [], [0, 1], [0]]
    assert [info["img_path"] for info in infos] == [
        f"{root}/images/{name}.jpg" for name in "abcd"
    ]


def test_data_prefix_goes_between_root_and_path(root):
    (root / "short.txt").write_text("a.jpg 1\n")
    dataset = ImageListDataset("short.txt", data_root=str(root), data_prefix="images")
    assert dataset.get_data_info(0)["img_path"] == f"{root}/images/a.jpg"


def write_json(path, data_list, **metainfo):
    path.write_text(json.dumps(dict(metainfo=metainfo, data_list=data_list)))


def test_json_list_equals_the_same_text_list(root):
    text = ImageListDataset("train.txt", data_root=str(root))
    entries = [
        dict(img_path=f"images/{name}.jpg", gt_label=labels, note=name)
        for name, labels in zip("abcd", ([2, 0], [], [0, 1, 0], [0]), strict=True)
    ]
    write_json(root / "train.json", entries, classes=CLASSES)
    (root / "classes.txt").unlink()
    dataset = ImageListDataset("train.json", data_root=str(root))
    assert dataset.metainfo == text.metainfo
    for index, name in enumerate("abcd"):
        expected = dict(text.get_data_info(index), note=name)
        assert dataset.get_data_info(index) == expected


def test_json_classes_are_known_before_the_list_is_loaded(root):
    categories = [
        dict(id=1, category_name="sofa"),
        dict(id=0, category_name="cat"),
    ]
    write_json(root / "list.json", [], categories=categories)
    dataset = ImageListDataset("list.json", data_root=str(root), lazy_init=True)
    assert dataset.metainfo["classes"] == ("cat", "sofa")
    assert dataset.metainfo["prompt_names"] == ("cat", "sofa")


@pytest.mark.parametrize("ids", [[1, 2], [0, 0], [0, 2]])
def test_categories_with_ids_that_are_no_labels_are_refused(root, ids):
    categories = [dict(id=i, category_name=n) for i, n in zip(ids, "ab", strict=True)]
    write_json(root / "list.json", [], categories=categories)
    with pytest.raises(ValueError, match=rf"{re.escape(str(ids))}; they must go from"):
        ImageListDataset("list.json", data_root=str(root), lazy_init=True)


def test_gt_labels_of_an_unlabelled_image_pass_through_mmpretrain(root):
    dataset = ImageListDataset("train.txt", data_root=str(root), pipeline=PIPELINE)
    batch = pseudo_collate([dataset[0], dataset[1], dataset[3]])
    preprocessor = ClsDataPreprocessor(to_onehot=True, num_classes=4)
    samples = preprocessor(batch, training=True)["data_samples"]
    assert [sample.gt_label.tolist() for sample in samples] == [[0, 2], [], [0]]
    assert torch.stack([sample.gt_score for sample in samples]).tolist() == [
        [1, 0, 1, 0],
        [0, 0, 0, 0],
        [1, 0, 0, 0],
    ]
    nothing = preprocessor(pseudo_collate([dataset[1]]), training=True)
    assert nothing["data_samples"][0].gt_score.tolist() == [0, 0, 0, 0]


# ----------------------------------------------------------------- metainfo


def test_metainfo_counts_distinct_images_and_groups_them(root):
    dataset = DATASETS.build(
        dict(
            type="ImageListDataset",
            ann_file="train.txt",
            data_root=str(root),
            head_threshold=3,
            tail_threshold=1,
        )
    )
    assert dataset.metainfo == dict(
        classes=CLASSES,
        prompt_names=CLASSES,
        class_counts=(3, 1, 1, 0),
        num_images=4,
        groups=dict(head=(0,), medium=(1, 2), tail=(3,)),
    )


def test_metainfo_is_plain_python_that_a_safe_checkpoint_holds(root, tmp_path):
    metainfo = ImageListDataset("train.txt", data_root=str(root)).metainfo
    torch.save(metainfo, tmp_path / "meta.pth")
    assert torch.load(tmp_path / "meta.pth", weights_only=True) == metainfo


def test_lazy_dataset_knows_its_names_only(root):
    dataset = ImageListDataset("train.txt", data_root=str(root), lazy_init=True)
    assert set(dataset.metainfo) == {"classes", "prompt_names"}
    dataset.full_init()
    assert dataset.metainfo["class_counts"] == (3, 1, 1, 0)


def test_test_set_takes_counts_from_the_training_list_without_its_images(root):
    (root / "test.txt").write_text("images/a.jpg 3\n")
    (root / "other.txt").write_text("gone/x.jpg 3\ngone/y.jpg 3 2\ngone/z.jpg\n")
    dataset = ImageListDataset(
        "test.txt", data_root=str(root), train_ann_file="other.txt", test_mode=True
    )
    assert dataset.metainfo["class_counts"] == (0, 0, 1, 2)
    assert dataset.metainfo["num_images"] == 3


def test_test_set_without_training_list_claims_no_counts(root):
    dataset = ImageListDataset("train.txt", data_root=str(root), test_mode=True)
    assert set(dataset.metainfo) == {"classes", "prompt_names"}


def test_prompt_names_from_metainfo_win(root):
    names = ("kitty", "table", "puppy", "screen")
    dataset = ImageListDataset(
        "train.txt", data_root=str(root), metainfo=dict(prompt_names=names)
    )
    assert dataset.metainfo["prompt_names"] == names
    assert dataset.metainfo["classes"] == CLASSES


def test_wrong_number_of_prompt_names_is_said(root):
    with pytest.raises(ValueError, match="4 classes but 1 prompt_names"):
        ImageListDataset(
            "train.txt", data_root=str(root), metainfo=dict(prompt_names=["cat"])
        )


def test_classes_can_be_given_by_name_or_by_another_file(root):
    by_name = ImageListDataset("train.txt", list("wxyz"), data_root=str(root))
    assert by_name.metainfo["classes"] == ("w", "x", "y", "z")
    (root / "names.txt").write_text("w\nx\ny\nz\n")
    by_file = ImageListDataset("train.txt", "names.txt", data_root=str(root))
    assert by_file.metainfo == by_name.metainfo


def test_subsets_are_copies_whatever_was_copied_before(root):
    dataset = ImageListDataset("train.txt", data_root=str(root))
    subset = dataset.get_subset([0])
    assert dataset.get_subset([0]).pipeline is not subset.pipeline
    assert subset.pipeline is not dataset.pipeline


@pytest.mark.parametrize("serialize", [True, False])
def test_a_subset_counts_its_own_images(root, serialize):
    options = dict(data_root=str(root), serialize_data=serialize)
    dataset = ImageListDataset("train.txt", **options)
    subset = dataset.get_subset([0, 1])
    assert subset.metainfo["class_counts"] == (1, 0, 1, 0)
    assert subset.metainfo["num_images"] == 2
    assert dataset.metainfo["class_counts"] == (3, 1, 1, 0)
    first = ImageListDataset("train.txt", indices=2, **options)
    assert first.metainfo == subset.metainfo
    dataset.get_subset_([0, 1])
    assert dataset.metainfo == subset.metainfo


def test_classes_without_training_image_are_named_in_a_warning(root, warnings_of):
    ImageListDataset("train.txt", data_root=str(root))
    (warning,) = warnings_of()
    assert "n_c = 0" in warning and "tvmonitor" in warning and "dog" not in warning


def test_mmengine_wrappers_work_on_it(root):
    # n_c of cat is 3 of 4 images, of dog and table 1 of 4.
    wrapped = ClassBalancedDataset(
        ImageListDataset(
            "labelled.txt", data_root=str(with_labelled(root)), pipeline=PIPELINE
        ),
        oversample_thr=0.9,
    )
    assert len(wrapped) > 3
    assert wrapped.metainfo["class_counts"] == (3, 1, 1, 0)
    assert wrapped[len(wrapped) - 1]["inputs"].shape == (3, 16, 16)


def with_labelled(root):
    (root / "labelled.txt").write_text(
        "images/a.jpg 2 0\nimages/c.jpg 0 1\nimages/d.jpg 0\n"
    )
    return root


# ---------------------------------------------------------------- bad input


def test_missing_data_root_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data root .*nowhere"):
        ImageListDataset("train.txt", data_root=str(tmp_path / "nowhere"))


def test_missing_lists_are_named(root):
    with pytest.raises(FileNotFoundError, match="no image list .*gone.txt"):
        ImageListDataset("gone.txt", data_root=str(root))
    with pytest.raises(FileNotFoundError, match="no image list .*gone.txt"):
        ImageListDataset("train.txt", data_root=str(root), train_ann_file="gone.txt")
    with pytest.raises(FileNotFoundError, match="no image list .*gone.json"):
        ImageListDataset("gone.json", data_root=str(root))
    with pytest.raises(ValueError, match="`ann_file` is missing"):
        ImageListDataset(data_root=str(root))


def test_missing_classes_file_is_named(root):
    (root / "classes.txt").unlink()
    with pytest.raises(FileNotFoundError, match="no classes file .*classes.txt"):
        ImageListDataset("train.txt", data_root=str(root))


def test_missing_images_are_counted_and_the_first_named(root):
    lines = "".join(f"images/gone{index}.jpg 0\n" for index in range(7))
    (root / "train.txt").write_text("images/a.jpg 0\n" + lines)
    with pytest.raises(FileNotFoundError) as caught:
        ImageListDataset("train.txt", data_root=str(root))
    message = str(caught.value)
    assert "7 of the 8 images" in message and "train.txt" in message
    assert "gone0.jpg" in message and "gone6.jpg" not in message
    dataset = ImageListDataset("train.txt", data_root=str(root), check_images=False)
    assert len(dataset) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bad.txt is empty"),
        ("\n \n", "bad.txt is empty"),
        ("images/a.jpg 0\nimages/b.jpg cat\n", "bad.txt, line 2: label 'cat'"),
        ("images/a.jpg 1.5\n", "line 1: label '1.5' is not a whole number"),
        ("images/a.jpg 1_0\n", "line 1: label '1_0' is not a whole number"),
        ("my picture.jpg 1\n", "line 1: label 'picture.jpg'.*path with spaces"),
        ("images/a.jpg 0\n\nimages/b.jpg 4\n", "line 3: label 4 is out of .* 0 to 3"),
        ("images/a.jpg -1\n", "line 1: label -1 is out of range"),
        ("a.jpg 0\nb.jpg 1\n./a.jpg 2\n", "line 3: image './a.jpg' .* line 1"),
    ],
)
def test_wrong_line_of_a_list_is_named(root, text, message):
    (root / "bad.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        ImageListDataset("bad.txt", data_root=str(root))
    # The list that the counts come from is held to the same.
    with pytest.raises(ValueError, match=message):
        ImageListDataset("train.txt", data_root=str(root), train_ann_file="bad.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "bad.json is not valid JSON"),
        ("[]", "bad.json: expected an object with 'metainfo'"),
        ('{"metainfo": {}, "data_list": []}', "bad.json is empty"),
        ([dict(gt_label=[0])], r"data_list\[0\]: .* 'img_path'"),
        (
            [dict(img_path="a", gt_label=[0]), dict(img_path="b")],
            r"data_list\[1\] \('b",
        ),
        ([dict(img_path="a", gt_label=[True])], r"data_list\[0\] .* whole numbers"),
        ([dict(img_path="a", gt_label=["1"])], r"data_list\[0\] .* whole numbers"),
        ([dict(img_path="a", gt_label=1)], r"data_list\[0\] .* whole numbers"),
        ([dict(img_path="a", gt_label=[9])], r"data_list\[0\]: label 9 is out of"),
        ([dict(img_path="a", gt_label=[])] * 2, r"data_list\[1\]: .*data_list\[0\]"),
        ([dict(img_path="", gt_label=[0])], r"data_list\[0\]: the path .* is empty"),
    ],
)
def test_wrong_entry_of_a_json_list_is_named(root, content, message):
    if isinstance(content, str):
        (root / "bad.json").write_text(content)
    else:
        write_json(root / "bad.json", content)
    with pytest.raises(ValueError, match=message):
        ImageListDataset("bad.json", CLASSES, data_root=str(root))


def test_json_without_classes_is_named(root):
    write_json(root / "bad.json", [])
    with pytest.raises(ValueError, match="bad.json names no classes"):
        ImageListDataset("bad.json", data_root=str(root))


def test_duplicate_class_names_are_named(root):
    with pytest.raises(ValueError, match="Classes 0 and 2 .* same name 'cat'"):
        ImageListDataset("train.txt", ["cat", "dog", "cat"], data_root=str(root))


def test_thresholds_the_wrong_way_round_are_refused(root):
    with pytest.raises(ValueError, match="tail_threshold=50 is above"):
        ImageListDataset(
            "train.txt", data_root=str(root), head_threshold=20, tail_threshold=50
        )


# ----------------------------------------------------------- corrupt images


def load_all(dataset, workers, context=None):
    """All batches of one epoch, loaded as MMEngine's runner does."""
    loader = DataLoader(
        dataset,
        batch_size=2,
        num_workers=workers,
        collate_fn=pseudo_collate,
        multiprocessing_context=context,
    )
    iterator = iter(loader)
    try:
        return list(iterator)
    finally:
        # After an error the traceback keeps the iterator, and collecting it as
        # garbage in a later test takes ten seconds.
        if workers:
            iterator._shutdown_workers()


@pytest.mark.parametrize("workers", [0, 2])
def test_truncated_jpeg_stops_training_and_is_named(root, workers):
    truncate(root / "images" / "c.jpg")
    dataset = ImageListDataset("train.txt", data_root=str(root), pipeline=PIPELINE)
    with pytest.raises(CorruptImageError, match="Cannot decode .*images/c.jpg"):
        load_all(dataset, workers)


@pytest.mark.parametrize(
    ("workers", "context", "epochs"),
    [(0, None, 2), (2, "fork", 2), (1, "spawn", 1)],
)
def test_skipped_images_are_counted_once_across_workers(root, workers, context, epochs):
    if context and context not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {context}")
    truncate(root / "images" / "c.jpg")
    (root / "images" / "a.jpg").write_bytes(b"")
    dataset = ImageListDataset(
        "train.txt", data_root=str(root), pipeline=PIPELINE, corrupt_images="skip"
    )
    assert dataset.skipped_images == []
    for _ in range(epochs):
        batches = load_all(dataset, workers, context)
        paths = [s.img_path for batch in batches for s in batch["data_samples"]]
        assert len(paths) == 4  # others stand in their place
        assert {path[-5:] for path in paths} <= {"b.jpg", "d.jpg"}
        assert dataset.skipped_images == [f"{root}/images/{n}.jpg" for n in "ac"]


def test_a_skipped_image_is_logged_once(root, warnings_of):
    truncate(root / "images" / "c.jpg")
    dataset = ImageListDataset(
        "train.txt", data_root=str(root), pipeline=PIPELINE, corrupt_images="skip"
    )
    for _ in range(3):
        dataset[2]
    assert sum("images/c.jpg" in warning for warning in warnings_of()) == 1


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda dataset: pickle.loads(pickle.dumps(dataset))]
)
def test_a_copied_dataset_still_hears_of_its_workers_skips(root, duplicate):
    truncate(root / "images" / "c.jpg")
    original = ImageListDataset(
        "train.txt", data_root=str(root), pipeline=PIPELINE, corrupt_images="skip"
    )
    dataset = duplicate(original)
    load_all(dataset, 2)
    assert dataset.skipped_images == [f"{root}/images/c.jpg"]
    assert original.skipped_images == []


def test_a_test_set_stops_at_a_corrupt_image_even_if_told_to_skip(root):
    truncate(root / "images" / "c.jpg")
    dataset = ImageListDataset(
        "train.txt",
        data_root=str(root),
        pipeline=PIPELINE,
        corrupt_images="skip",
        test_mode=True,
    )
    with pytest.raises(CorruptImageError, match="images/c.jpg"):
        load_all(dataset, 0)


def fail_on_c(results):
    if results["img_path"].endswith("c.jpg"):
        raise ValueError("a bug in a transform")
    return results


def test_errors_that_are_not_of_decoding_are_never_skipped(root):
    dataset = ImageListDataset(
        "train.txt",
        data_root=str(root),
        pipeline=[PIPELINE[0], fail_on_c, *PIPELINE[1:]],
        corrupt_images="skip",
    )
    with pytest.raises(ValueError, match="a bug in a transform"):
        load_all(dataset, 2)
    (root / "images" / "d.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="d.jpg"):
        dataset[3]
    assert dataset.skipped_images == []


def test_skip_with_a_loader_that_cannot_notice_is_refused(root):
    with pytest.raises(ValueError, match="begin the pipeline with .*LoadImage"):
        ImageListDataset(
            "train.txt",
            data_root=str(root),
            pipeline=[dict(type="LoadImageFromFile")],
            corrupt_images="skip",
        )


def test_unknown_way_with_corrupt_images_is_refused(root):
    with pytest.raises(ValueError, match="corrupt_images='ignore' is unknown"):
        ImageListDataset("train.txt", data_root=str(root), corrupt_images="ignore")


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
