"""tools/prepare_data.py."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

TOOL = Path(__file__).resolve().parents[2] / "tools" / "prepare_data.py"


@pytest.fixture
def prepare(monkeypatch, capsys):
    """Runs the tool in this process; returns what it printed."""

    def run(*args):
        spec = importlib.util.spec_from_file_location("tool_prepare_data", TOOL)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [TOOL.name, *map(str, args)])
        module.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def root(tmp_path):
    for index in range(4):
        Image.new("RGB", (8, 8), (60 * index, 0, 0)).save(tmp_path / f"{index}.png")
    lines = [
        "image,tags",
        *(f"{index}.png,{'cat;dog'[: 3 + index]}" for index in (0, 4)),
    ]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    (tmp_path / "val.csv").write_text("image,tags\n3.png,cat\n")
    return tmp_path


def options(root):
    return (
        *("custom", root, "--train", root / "train.csv", "--val", root / "val.csv"),
        *("--name", "pets"),
    )


def names(folder):
    return sorted(path.name for path in folder.glob("pets*"))


def test_missing_images_stop_it_and_the_report_lists_them(prepare, root):
    with pytest.raises(FileNotFoundError, match="1 images are missing .*report.txt"):
        prepare(*options(root))
    assert names(root) == ["pets.report.txt"]
    assert "train: 4.png" in (root / "pets.report.txt").read_text()


def test_they_can_be_dropped_or_kept(prepare, root):
    out = root / "out"
    printed = prepare(*options(root), "--unusable", "drop", "--out-dir", out)
    assert "train: 1 images, 1 labels" in printed
    assert names(out) == ["pets.report.txt", "pets_train.json", "pets_val.json"]
    with pytest.raises(FileExistsError, match="pets_train.json"):
        prepare(*options(root), "--unusable", "keep", "--out-dir", out)
    prepare(*options(root), "--unusable", "keep", "--out-dir", out, "--force")
    content = json.loads((out / "pets_train.json").read_text())
    assert [entry["img_path"] for entry in content["data_list"]] == ["0.png", "4.png"]


def test_images_that_do_not_open_are_found_on_request(prepare, root):
    (root / "4.png").write_bytes((root / "0.png").read_bytes()[:40])
    prepare(*options(root))
    with pytest.raises(FileNotFoundError, match="1 images are missing or do not open"):
        prepare(*options(root), "--verify-images")
    assert "train: 4.png" in (root / "pets.report.txt").read_text()


@pytest.mark.parametrize(
    ("kind", "name"), [("voc-lt", "voc_lt"), ("coco-lt", "coco_lt")]
)
def test_the_official_lists_are_one_command(prepare, shared_dir, tmp_path, kind, name):
    splits = shared_dir / "data" / "splits"
    printed = prepare(kind, splits, "--out-dir", tmp_path, "--images", "ignore")
    assert printed.count("as published") == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{name}.report.txt",
        f"{name}_test.json",
        f"{name}_train.json",
    ]


def test_nus_wide_is_read_from_lists(prepare, root):
    (root / "nus.txt").write_text("0.png,person sky\n1.png,\n")
    printed = prepare(
        *("nus-wide", root, "--image-dir", ".", "--drop-unlabelled"),
        *("--train-list", root / "nus.txt", "--test-list", root / "nus.txt"),
    )
    assert "training images: 1, DIFFERS, published: 161,789" in printed
    assert "by path: 1\n  train: 0.png = test: 0.png" in printed
    assert (root / "nus_wide_test.json").is_file()
