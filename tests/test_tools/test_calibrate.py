"""tools/calibrate.py: what it adds to a checkpoint, and that nothing else changes."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score


def read(path):
    return torch.load(path, weights_only=True)


def same(one, other):
    """Whether two checkpoints hold the same, tensors and all."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if torch.is_tensor(one):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if hasattr(one, "__dict__"):  # a history of MMEngine's
        return type(one) is type(other) and same(vars(one), vars(other))
    return one == other or (one != one and other != other)  # NaN


@pytest.fixture
def trained(run_tool, config, data_root, tmp_path, tmp_path_factory):
    """A copy of the work dir of a training that all tests share."""
    first = tmp_path_factory.getbasetemp() / "trained_for_calibration"
    if not first.exists():
        run_tool("train.py", config, "--data-root", data_root, "--work-dir", first)
    return shutil.copytree(first, tmp_path / "work")


@pytest.fixture
def calibrate(run_tool, config, data_root, tmp_path):
    def run(checkpoint, *flags, **kwargs):
        common = ("--data-root", data_root, "--work-dir", tmp_path / "calibration")
        run_tool("calibrate.py", config, checkpoint, *common, *flags, **kwargs)

    return run


@pytest.fixture
def scores_of(run_tool, config, data_root, tmp_path):
    def run(checkpoint, *flags, root=data_root):
        out = tmp_path / "scores.json"
        common = ("--data-root", root, "--work-dir", tmp_path / "test", "--out", out)
        run_tool(
            "test.py", config, checkpoint, *common, "--out-item", "metrics", *flags
        )
        return json.loads(out.read_text())

    return run


def test_thresholds_are_added_and_nothing_saved_is_lost(calibrate, trained, capsys):
    before = read(trained / "epoch_2.pth")
    calibrate(trained / "epoch_2.pth")
    after = read(trained / "epoch_2.pth")
    added = after["meta"].pop("calibration")
    assert same(before, after) and "optimizer" in after
    assert added["classes"] == ["red", "green", "blue"]
    assert added["num_positives"] == [2, 2, 2] and added["num_images"] == 6
    assert len(added["thresholds"]) == len(added["bias"]) == 3
    assert added["wanted"] == "f1" and added["tta"] is False
    assert "stored in" in capsys.readouterr().out
    assert {path.suffix for path in trained.glob("*.p*")} == {".pth", ".py"}


def test_a_test_reports_what_the_thresholds_predict(calibrate, trained, scores_of):
    checkpoint = trained / "epoch_2.pth"
    before = scores_of(checkpoint)
    calibrate(checkpoint)
    after = scores_of(checkpoint)
    names = [
        f"multi-label/{score}{part}"
        for part in ("", "_head", "_medium", "_tail")
        for score in ("mF1", "CF1", "OF1")
    ]
    assert [*before, *names] == list(after)
    assert all(after[name] == before[name] or name[-4:] != "mAP" for name in before)
    switched_off = scores_of(
        checkpoint, "--cfg-options", "test_evaluator.use_calibration=False"
    )
    assert list(switched_off) == list(before)


def test_the_thresholds_follow_the_names_of_the_classes(
    calibrate, trained, scores_of, data_root, tmp_path
):
    checkpoint = trained / "epoch_2.pth"
    calibrate(checkpoint)
    # Thresholds that tell the classes apart: red is always predicted, others never.
    content = read(checkpoint)
    content["meta"]["calibration"]["thresholds"] = [0.0, 1.1, 1.1]
    torch.save(content, checkpoint)
    expected = scores_of(checkpoint)
    other = tmp_path / "other order"
    shutil.copytree(data_root, other)
    (other / "classes.txt").write_text("blue\nred\ngreen\n")
    place = {"0": "1", "1": "2", "2": "0"}
    for name in ("train.txt", "val.txt"):
        lines = [line.split() for line in (other / name).read_text().splitlines()]
        (other / name).write_text("\n".join(f"{i} {place[k]}" for i, k in lines))
    assert scores_of(checkpoint, root=other) == pytest.approx(expected, nan_ok=True)
    always_red = f1_score([1, 0, 0, 1, 0, 0], [1] * 6)
    assert expected["multi-label/mF1"] == pytest.approx(100 * always_red / 3)


def test_training_resumed_from_a_calibrated_checkpoint_ends_as_without(
    calibrate, trained, run_tool, config, data_root, tmp_path
):
    expected = read(trained / "epoch_2.pth")
    calibrate(trained / "epoch_1.pth")
    other = tmp_path / "resumed"
    flags = ("--data-root", data_root, "--work-dir", other)
    run_tool("train.py", config, *flags, "--resume", trained / "epoch_1.pth")
    ended = read(other / "epoch_2.pth")
    assert same(expected["state_dict"], ended["state_dict"])
    assert "calibration" not in ended["meta"]  # they were those of other weights


def test_another_file_and_another_aim(calibrate, trained, tmp_path):
    checkpoint, out = trained / "epoch_2.pth", tmp_path / "calibrated.pth"
    before = checkpoint.read_bytes()
    calibrate(checkpoint, "--out", out, "--wanted", "precision=0.9", "--tta")
    assert checkpoint.read_bytes() == before
    added = read(out)["meta"]["calibration"]
    assert added["wanted"] == "precision=0.9" and added["tta"] is True


def test_a_report_of_a_test_is_left_alone(calibrate, trained, tmp_path):
    calibrate(trained / "epoch_2.pth", options=["custom_hooks.1.type=ReportHook"])
    assert not (tmp_path / "calibration" / "report").exists()


@pytest.mark.parametrize("wanted", ["recall", "precision=90", "precision=x", "f1=1"])
def test_an_aim_that_is_none_is_refused(calibrate, tmp_path, capsys, wanted):
    with pytest.raises(SystemExit):
        calibrate(tmp_path / "epoch_2.pth", "--wanted", wanted)
    assert re.search("expected f1, or precision=P", capsys.readouterr().err)


def test_a_config_without_validation_list_and_an_address_without_out_are_refused(
    calibrate, trained, monkeypatch
):
    with pytest.raises(ValueError, match="has no val_dataloader"):
        calibrate(trained / "epoch_2.pth", options=["val_dataloader=None"])
    local = str(trained / "epoch_2.pth")
    monkeypatch.setattr("capnet_mm.cli.check_checkpoint", lambda path: local)
    with pytest.raises(ValueError, match="name one with --out"):
        calibrate("https://example.org/epoch_2.pth")


def test_a_file_that_cannot_be_written_is_left_as_it_was(
    calibrate, trained, monkeypatch
):
    checkpoint = trained / "epoch_2.pth"
    before = checkpoint.read_bytes()

    def fail(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        calibrate(checkpoint)
    assert checkpoint.read_bytes() == before
    assert not list(Path(trained).glob(".*.tmp"))
