"""Images and lists for several tests of data sets."""

import io
import json

import numpy as np
import pytest
from mmpretrain.registry import DATASETS
from PIL import Image

FILTERS = dict(
    bicubic=Image.Resampling.BICUBIC,
    bilinear=Image.Resampling.BILINEAR,
)
# uint8 weights of 16 bits: a few levels at single pixels of the hardest image, noise.
LARGEST, MEAN = 4, 0.05

CLASSES = ["cat", "dog", "cow"]
FIRST = "0.png 0 1\n1.png 0\n2.png 2\n"
# Of the same images, in the order cow, cat, dog.
OTHER_ORDER = ["cow", "cat", "dog"]
SECOND = [([1, 2], []), ([1], [0]), ([0], [])]


@pytest.fixture
def splits(shared_dir):
    return str(shared_dir / "data" / "splits")


def group_sizes(dataset):
    return {name: len(ids) for name, ids in dataset.metainfo["groups"].items()}


def number_of_labels(dataset):
    return sum(len(dataset.get_cat_ids(index)) for index in range(len(dataset)))


def check_default_lists(name, stem, folder):
    """Train and test list of a data set are found by their names alone."""
    (folder / f"{stem}_train.txt").write_text(
        "".join(f"{index}.jpg 0\n" for index in range(30)) + "x.jpg 19 0\n"
    )
    (folder / f"{stem}_test.txt").write_text("y.jpg 1\nz.jpg\n")
    config = dict(type=name, data_root=str(folder), check_images=False)
    train = DATASETS.build(config)
    test = DATASETS.build(dict(config, test_mode=True))
    assert (len(train), len(test)) == (31, 2)
    assert train.metainfo["class_counts"][0] == 31
    assert train.metainfo["class_counts"][19] == 1
    assert train.metainfo["groups"]["medium"] == (0,)
    assert test.metainfo == train.metainfo


def photo(height=60, width=90):
    """Smooth colours with noise: like a photograph, it fills several KB of JPEG."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([2 * x, 3 * y, x + y], -1) % 256
    noisy = smooth + rng.normal(0, 12, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def encoded(image, file_format="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def noise(height, width, *channels):
    rng = np.random.default_rng(height + width)
    return rng.integers(0, 256, (height, width, *channels), dtype=np.uint8)


def check_same(ours, theirs):
    difference = abs(np.asarray(ours).astype(int) - np.asarray(theirs))
    assert difference.max() <= LARGEST and difference.mean() <= MEAN


@pytest.fixture
def two_lists(tmp_path):
    """A folder with two lists of the same images, in two orders of the classes."""
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
