import numpy as np
import pytest
from conftest import REPOSITORY
from PIL import Image


def test_images_are_drawn_for_a_training_set(run_tool, config, data_root, tmp_path):
    flags = ("--data-root", data_root, "--work-dir", tmp_path, "--seed", 1)
    run_tool("browse_dataset.py", config, *flags, "--images", 3, "--views", 2)
    sheet = np.asarray(Image.open(tmp_path / "samples.png").convert("RGB"))
    assert sheet.shape[0] > sheet.shape[1]  # three rows of two views
    # The images are red, green and blue: more than one colour is drawn.
    saturated = sheet.max(-1).astype(int) - sheet.min(-1) > 60
    assert len(np.unique(sheet[saturated].argmax(-1))) > 1
    for name in ("class_counts", "cooccurrence"):
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10


def test_impossible_sheets_are_refused(run_tool, config, data_root, tmp_path):
    flags = ("--data-root", data_root, "--work-dir", tmp_path)
    with pytest.raises(ValueError, match="--images 0"):
        run_tool("browse_dataset.py", config, *flags, "--images", 0)


def test_a_config_without_training_is_refused(run_tool, tmp_path):
    zero_shot = REPOSITORY / "configs" / "demo" / "zero_shot.py"
    with pytest.raises(ValueError, match="no training data to show"):
        run_tool("browse_dataset.py", zero_shot, "--work-dir", tmp_path)
