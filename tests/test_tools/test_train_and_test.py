import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import free_port
from PIL import Image

TOOLS = Path(__file__).resolve().parents[2] / "tools"


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def contents(folder):
    files = [path for path in Path(folder).iterdir() if path.is_file()]
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def scores(path):
    return json.loads(Path(path).read_text())


def log_of(work_dir):
    return "".join(path.read_text() for path in Path(work_dir).glob("*/*.log"))


@pytest.fixture
def trained(run_tool, config, data_root, tmp_path):
    work_dir = tmp_path / "work dir"
    run_tool("train.py", config, "--data-root", data_root, "--work-dir", work_dir)
    return work_dir


def test_training_saves_checkpoints_and_testing_gives_the_validation_scores(
    run_tool, config, data_root, trained, tmp_path
):
    names = {path.name for path in trained.glob("*.p*")}
    assert names == {"epoch_1.pth", "epoch_2.pth", "tiny.py"}
    out = tmp_path / "scores.json"
    flags = ("--data-root", data_root, "--work-dir", tmp_path / "test", "--out", out)
    run_tool(
        "test.py", config, trained / "epoch_2.pth", *flags, "--out-item", "metrics"
    )
    validated = re.findall(
        r"Epoch\(val\) \[2\].* multi-label/mAP: (\S+)", log_of(trained)
    )
    assert validated == [f"{scores(out)['multi-label/mAP']:.4f}"]


def test_a_run_without_checkpoint_tests_the_model_as_configured(
    run_tool, config, data_root, tmp_path
):
    out = tmp_path / "predictions.pkl"
    run_tool(
        "test.py",
        config,
        "--data-root",
        data_root,
        "--work-dir",
        tmp_path,
        "--out",
        out,
    )
    predictions = pickle.loads(out.read_bytes())
    assert len(predictions) == 6
    assert predictions[0]["pred_score"].shape == (3,)
    assert "No checkpoint given" in log_of(tmp_path)


def test_resumed_training_ends_with_the_weights_of_uninterrupted(
    run_tool, config, data_root, trained, tmp_path
):
    straight = torch.load(trained / "epoch_2.pth")["state_dict"]
    (trained / "epoch_2.pth").unlink()
    (trained / "last_checkpoint").write_text(str(trained / "epoch_1.pth"))
    run_tool(
        "train.py", config, "--data-root", data_root, "--work-dir", trained, "--resume"
    )
    resumed = torch.load(trained / "epoch_2.pth")["state_dict"]
    assert straight.keys() == resumed.keys()
    assert [
        key for key in straight if not torch.equal(straight[key], resumed[key])
    ] == []


def test_views_are_averaged_with_tta(run_tool, config, data_root, trained, tmp_path):
    results = {}
    for name, flags in (("once", ()), ("views", ("--tta",))):
        out = tmp_path / f"{name}.pkl"
        flags = (*flags, "--data-root", data_root, "--work-dir", tmp_path / name)
        run_tool("test.py", config, trained / "epoch_2.pth", *flags, "--out", out)
        results[name] = pickle.loads(out.read_bytes())

    # By hand: mean of the probabilities of each image and of its mirror image.
    plain = "pipeline = [dict(type='LoadImage'), dict(type='PackInputs')]"
    flip = plain.replace("), ", "), dict(type='RandomFlip', prob=1.), ")
    text = Path(config).read_text()
    assert plain in text
    mirrored = tmp_path / "mirrored.py"
    mirrored.write_text(text.replace(plain, flip))
    out = tmp_path / "mirrored.pkl"
    flags = ("--data-root", data_root, "--work-dir", tmp_path / "m", "--out", out)
    run_tool("test.py", mirrored, trained / "epoch_2.pth", *flags)
    for once, mirror, views in zip(
        results["once"], pickle.loads(out.read_bytes()), results["views"], strict=True
    ):
        mean = (once["pred_score"] + mirror["pred_score"]) / 2
        torch.testing.assert_close(views["pred_score"], mean)


def test_views_that_keep_the_aspect_ratio_are_scored_alike_in_any_batch(
    run_tool, config, trained, tmp_path
):
    root = tmp_path / "two shapes"
    root.mkdir()
    random = np.random.default_rng(0)
    lines = []
    for index, shape in enumerate([(32, 48), (60, 40), (32, 48), (32, 64)]):
        pixels = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{index}.png")
        lines.append(f"{index}.png {index % 3}")
    (root / "classes.txt").write_text("red\ngreen\nblue\n")
    for name in ("train.txt", "val.txt"):
        (root / name).write_text("\n".join(lines))
    text = Path(config).read_text()
    start = "dict(type='TestTimeAug'"
    assert start in text
    uncropped = tmp_path / "uncropped.py"
    resize = "dict(type='ResizeEdge', scale=40), "
    uncropped.write_text(text.replace(start, resize + start))

    results = []
    for size in (4, 1):
        out = tmp_path / f"{size}.pkl"
        flags = ("--tta", "--data-root", root, "--work-dir", tmp_path, "--out", out)
        options = [f"test_dataloader.batch_size={size}"]
        checkpoint = trained / "epoch_2.pth"
        run_tool("test.py", uncropped, checkpoint, *flags, options=options)
        predictions = pickle.loads(out.read_bytes())
        results.append(torch.stack([each["pred_score"] for each in predictions]))
    torch.testing.assert_close(*results)
    assert len(results[0]) == 4


def refuse(run_tool, error, match, name, *args):
    with pytest.raises(error, match=match):
        run_tool(name, *args)


def test_a_checkpoint_that_carries_code_is_refused_and_nothing_is_overwritten(
    run_tool, config, data_root, trained, tmp_path
):
    bad = tmp_path / "bad.pth"
    torch.save(dict(state_dict={}, meta=RunsCode(tmp_path / "evidence")), bad)
    (trained / "last_checkpoint").write_text(str(bad))
    before = contents(trained)
    match = "bad.pth was refused because it isn't plain weights"
    flags = (config, "--data-root", data_root, "--work-dir", trained)
    refuse(run_tool, ValueError, match, "train.py", *flags, "--resume", bad)
    refuse(run_tool, ValueError, match, "train.py", *flags, "--resume")
    refuse(run_tool, ValueError, match, "test.py", *flags, bad)
    assert contents(trained) == before
    assert not (tmp_path / "evidence").exists()


def test_a_truncated_checkpoint_is_named(
    run_tool, config, data_root, trained, tmp_path
):
    whole = (trained / "epoch_2.pth").read_bytes()
    for name, data in (("cut.pth", whole[: len(whole) // 2]), ("empty.pth", b"")):
        (tmp_path / name).write_bytes(data)
        flags = (config, tmp_path / name, "--data-root", data_root)
        refuse(run_tool, ValueError, f"{name} cannot be read", "test.py", *flags)


def test_missing_files_are_named(run_tool, config, data_root, tmp_path):
    flags = ("--data-root", data_root, "--work-dir", tmp_path)
    error = FileNotFoundError
    refuse(run_tool, error, "config file nope.py", "train.py", "nope.py", *flags)
    refuse(
        run_tool, error, "checkpoint nope.pth", "test.py", config, "nope.pth", *flags
    )
    resume = ("train.py", config, "--resume", "nope.pth", *flags)
    refuse(run_tool, error, "checkpoint nope.pth", *resume)
    refuse(run_tool, error, "data root nowhere", "train.py", config, *flags[2:])
    assert list(tmp_path.glob("*.pth")) == []


def test_a_start_that_fails_leaves_the_files_of_an_earlier_run_alone(
    run_tool, config, trained, tmp_path
):
    before = contents(trained)
    other = tmp_path / "other"
    other.mkdir()
    (other / "classes.txt").write_text("red\ngreen\nblue\n")  # and no list
    flags = (config, "--data-root", other, "--work-dir", trained)
    with pytest.raises(FileNotFoundError, match="train.txt"):
        run_tool("train.py", *flags, options=["optim_wrapper.optimizer.lr=0.5"])
    assert contents(trained) == before


def test_the_config_in_the_work_dir_is_that_of_the_run_that_trains(
    run_tool, config, data_root, trained
):
    flags = (config, "--data-root", data_root, "--work-dir", trained)
    run_tool("test.py", *flags, options=["optim_wrapper.optimizer.lr=0.5"])
    assert "lr=0.01" in (trained / "tiny.py").read_text()
    run_tool("train.py", *flags, options=["optim_wrapper.optimizer.lr=0.5"])
    assert "lr=0.5" in (trained / "tiny.py").read_text()


def test_several_processes_on_cpu_train_and_evaluate_from_any_folder(
    config, data_root, tmp_path
):
    def run(script, *args):
        python = str(Path(sys.executable).parent)
        environment = dict(
            os.environ,
            PORT=free_port(),
            OMP_NUM_THREADS="1",
            PATH=f"{python}:{os.environ['PATH']}",
        )
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            ["bash", TOOLS / script, *map(str, args)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    flags = ("--data-root", data_root, "--work-dir", "work dir")
    run("dist_train.sh", config, 2, *flags)
    checkpoint = torch.load(tmp_path / "work dir" / "epoch_2.pth")
    # 12 images in 2 processes, 4 at a time: 2 iterations an epoch
    assert checkpoint["meta"]["iter"] == 4
    out = ("--out", "scores.json", "--out-item", "metrics")
    run("dist_test.sh", config, "work dir/epoch_2.pth", 2, *flags, *out)
    log = log_of(tmp_path / "work dir")
    validated = re.findall(r"Epoch\(val\) \[2\].* multi-label/mAP: (\S+)", log)
    assert validated == [f"{scores(tmp_path / 'scores.json')['multi-label/mAP']:.4f}"]


def test_a_validation_list_in_another_class_order_scores_the_same(
    run_tool, config, data_root, tmp_path
):
    """The same labels with the classes sorted by name, in training and testing."""
    root = Path(data_root)
    names = (root / "classes.txt").read_text().split()
    ordered = sorted(names)
    assert ordered != names
    for name in ("train", "val"):
        lines = (root / f"{name}.txt").read_text().splitlines()
        images = [
            dict(img_path=path, gt_label=[ordered.index(names[int(label)])])
            for path, label in map(str.split, lines)
        ]
        content = dict(metainfo=dict(classes=ordered), data_list=images)
        (root / f"{name}_sorted.json").write_text(json.dumps(content))
    # Other counts for each class, so that their order shows.
    few = (root / "train.txt").read_text().splitlines()
    (root / "counts.txt").write_text("\n".join([*few[:3], few[3], few[4], few[6]]))
    few = json.loads((root / "train_sorted.json").read_text())
    few["data_list"] = [few["data_list"][i] for i in (0, 1, 2, 3, 4, 6)]
    (root / "counts_sorted.json").write_text(json.dumps(few))
    found = {}
    for case, suffix in (("own order", ".txt"), ("sorted", "_sorted.json")):
        dataset = dict(
            ann_file=f"val{suffix}",
            train_ann_file=f"counts{suffix}",
            tail_threshold=2,
            head_threshold=3,
        )
        options = [
            f"{loader}.dataset.{key}={value}"
            for loader in ("val_dataloader", "test_dataloader")
            for key, value in dataset.items()
        ]
        work_dir, out = tmp_path / case, tmp_path / f"{case}.json"
        flags = ("--data-root", data_root, "--work-dir", work_dir)
        run_tool("train.py", config, *flags, options=options)
        log = log_of(work_dir)
        checkpoint = work_dir / "epoch_2.pth"
        flags = (*flags, "--out", out, "--out-item", "metrics")
        run_tool("test.py", config, checkpoint, *flags, options=options)
        found[case] = scores(out), log
    (expected, log), (result, log_of_sorted) = found.values()
    assert result == expected
    assert {name for name in expected if "head" in name or "tail" in name}
    assert "renumbered by name" in log_of_sorted and "renumbered" not in log
    table = re.compile("^(?:red|green|blue) .*$", flags=re.M)
    assert table.findall(log_of_sorted) == table.findall(log) != []


def test_other_class_names_in_a_test_set_are_refused_with_both_lists(
    run_tool, config, data_root, trained, tmp_path
):
    classes = tmp_path / "classes.txt"
    classes.write_text("red\ngreen\nviolet\n")
    with pytest.raises(ValueError, match="Only in the former.*violet.*blue"):
        run_tool(
            "test.py",
            config,
            trained / "epoch_2.pth",
            "--data-root",
            data_root,
            "--work-dir",
            tmp_path,
            options=[f"test_dataloader.dataset.classes={classes}"],
        )
