"""The benchmark of the training pipeline, on small images."""

import argparse

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import data

CONFIG = """
train_pipeline = [
    dict(type='LoadImage', min_edge={min_edge}),
    dict(type='FastRandomResizedCrop', scale=32, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs')]
"""


PLAIN = CONFIG.format(min_edge=None)


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """Runs the benchmark on images of 160 x 128."""
    monkeypatch.setattr(data, "SIZES", ((160, 128),))

    def measure(*options, text=PLAIN):
        path = tmp_path / "config.py"
        path.write_text(text)
        parser = argparse.ArgumentParser()
        parser.add_argument("--rounds", type=int)  # as tools/benchmark.py has it
        data.add_arguments(parser)
        command = ("--config", path, "--images", 4, "--rounds", 1, *options)
        return data.run(parser.parse_args([str(word) for word in command]))

    return measure


def test_without_reduction_ours_and_torchvisions_pixels_are_the_same(measure):
    # Other crops, or crops mirrored otherwise, would differ by tens of grey levels.
    alone, loaded = measure("--workers", 1)
    assert alone.what == "4 JPEGs of 160 x 128, one process"
    assert loaded.what == "4 JPEGs of 160 x 128, 1 workers"
    assert alone.max_difference == loaded.max_difference <= 4
    assert set(alone.timings) == {"ours", "torchvision", "MMPretrain"}
    assert alone.met == (float(alone.figure.split("×")[0]) >= 1.3)


def test_reduced_decoding_keeps_the_crops(measure):
    (row,) = measure("--workers", 0, text=CONFIG.format(min_edge=64))
    assert float(row.note.split()[2]) < 3  # mean difference in grey levels


def test_given_images_are_measured_as_they_are_and_enlarged(measure, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.jpg")
    Image.fromarray(pixels[..., 0]).save(folder / "grey.jpg")
    rows = measure("--workers", 0, "--data-root", folder)
    assert [row.what for row in rows] == [
        "1 JPEGs as they are, about 50 x 40, one process",
        "4 JPEGs of 160 x 128, one process",
    ]
    (folder / "a.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="no JPEG in colour in .*images"):
        measure("--data-root", folder)


def test_the_number_of_threads_is_as_before(measure):
    threads = torch.get_num_threads()
    measure("--workers", 0)
    assert torch.get_num_threads() == threads


def test_a_pipeline_without_crops_is_refused(measure):
    text = "train_pipeline = [dict(type='LoadImage'), dict(type='PackInputs')]"
    with pytest.raises(ValueError, match="no RandomResizedCrop"):
        measure(text=text)
    with pytest.raises(ValueError, match="has no train_pipeline"):
        measure(text="a = 1")
