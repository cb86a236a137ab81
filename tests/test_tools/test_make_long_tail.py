"""tools/make_long_tail.py."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from capnet_mm.datasets import ImageListDataset, draw_long_tail
from capnet_mm.datasets.list_files import read_image_list

TOOL = Path(__file__).resolve().parents[2] / "tools" / "make_long_tail.py"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the tool with a command line; returns what it prints."""
    spec = importlib.util.spec_from_file_location("make_long_tail", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*args):
        monkeypatch.setattr(sys, "argv", [TOOL.name, *map(str, args)])
        module.main()
        return capsys.readouterr().out

    return run


def entries():
    """200 images of a dog, 200 of a cow (each with a dog), 10 of neither."""
    images = [dict(img_path=f"dog/{i}.jpg", gt_label=[0]) for i in range(200)]
    images += [dict(img_path=f"cow/{i}.jpg", gt_label=[0, 1]) for i in range(200)]
    images += [dict(img_path=f"no/{i}.jpg", gt_label=[]) for i in range(10)]
    images[200]["gt_unknown"] = [2]
    return images


@pytest.fixture
def root(tmp_path):
    (tmp_path / "classes.txt").write_text("dog\ncow\ntvmonitor\n")
    lines = []
    for image in entries():
        unknown = [f"?{label}" for label in image.get("gt_unknown", [])]
        lines.append(" ".join([image["img_path"], *map(str, image["gt_label"])]))
        lines[-1] = " ".join([lines[-1], *unknown])
    (tmp_path / "train.txt").write_text("\n".join(lines))
    return tmp_path


def expected_images(**options):
    images = entries()
    labels = [image["gt_label"] for image in images]
    draw = draw_long_tail(labels, 3, **options)
    return [images[index] for index in draw.indices], draw


def test_new_list_holds_the_draw_with_all_that_the_old_one_said(root, run):
    options = dict(max_count=300, min_count=150, alpha=2.0, quantile=0.9, seed=7)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    run(root / "train.txt", root / "long_tail.txt", *flags)
    images, _ = expected_images(**options)
    assert read_image_list(str(root / "long_tail.txt"), 3) == images
    dataset = ImageListDataset("long_tail.txt", data_root=str(root), check_images=False)
    assert dataset.metainfo["num_images"] == len(images)


def test_unknown_labels_stay_in_the_new_list(root, run):
    run(root / "train.txt", root / "all.txt", "--min-count=400", "--max-count=400")
    images = read_image_list(str(root / "all.txt"), 3)
    assert len(images) == 400  # all but those without labels
    assert [image.get("gt_unknown") for image in images].count([2]) == 1


def test_counts_aims_and_groups_are_printed(root, run):
    printed = run(root / "train.txt", root / "new.txt", "--max-count=300")
    images, draw = expected_images(max_count=300)
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines()[1:4]}
    assert list(rows) == ["dog", "cow", "tvmonitor"]
    for label, row in enumerate(rows.values()):
        numbers = draw.available[label], draw.targets[label], draw.counts[label]
        assert tuple(map(int, row[:3])) == numbers
    assert rows["dog"][3:] == ["head"] and rows["cow"][3:] == ["tail"]
    assert " ".join(rows["tvmonitor"][3:]) == "tail (fewer available than aimed at)"
    assert "1 head, 0 medium, 2 tail" in printed
    assert f"{len(images)} of 410 images are in {root / 'new.txt'}" in printed


def test_json_lists_keep_their_classes_and_other_keys(root, run):
    (root / "classes.txt").unlink()
    images = [dict(image, note=image["img_path"]) for image in entries()]
    metainfo = dict(classes=["dog", "cow", "tvmonitor"], prompt_names=["d", "c", "t"])
    content = dict(metainfo=metainfo, data_list=images)
    (root / "train.json").write_text(json.dumps(content))
    run(root / "train.json", root / "new.json", "--max-count=50")
    drawn, _ = expected_images(max_count=50)
    written = json.loads((root / "new.json").read_text())
    assert written["metainfo"] == metainfo
    assert written["data_list"] == [
        dict(image, note=image["img_path"]) for image in drawn
    ]


def test_an_existing_list_is_overwritten_only_by_force(root, run):
    new = root / "new.txt"
    new.write_text("mine")
    with pytest.raises(FileExistsError, match="new.txt is there already.*--force"):
        run(root / "train.txt", new)
    assert new.read_text() == "mine"
    run(root / "train.txt", new, "--force")
    images, _ = expected_images()
    assert read_image_list(str(new), 3) == images


def test_the_list_to_draw_from_is_never_overwritten(root, run):
    os.symlink(root / "train.txt", root / "link.txt")
    before = (root / "train.txt").read_text()
    for name in ("train.txt", "link.txt"):
        with pytest.raises(ValueError, match=f"{name} is the list to draw from"):
            run(root / "train.txt", root / name, "--force")
    assert (root / "train.txt").read_text() == before


def test_failing_leaves_nothing_behind(root, run):
    before = sorted(path.name for path in root.iterdir())
    with pytest.raises(ValueError, match="alpha must be positive"):
        run(root / "train.txt", root / "new.txt", "--alpha=0")
    with pytest.raises(ValueError, match="must both be .json lists or both be text"):
        run(root / "train.txt", root / "new.json")
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        run(root / "train.txt", root / "nowhere" / "new.txt")
    with pytest.raises(FileNotFoundError, match="no image list .*gone.txt"):
        run(root / "gone.txt", root / "new.txt")
    (root / "train.txt").write_text("a.jpg 0\nb.jpg 9\n")
    with pytest.raises(ValueError, match="train.txt, line 2: label 9"):
        run(root / "train.txt", root / "new.txt")
    assert sorted(path.name for path in root.iterdir()) == before
