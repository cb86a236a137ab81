import json
import math
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from capnet_mm.comparison import runs as compare
from capnet_mm.comparison import table

TOOLS = Path(__file__).resolve().parents[2] / "tools"
UNTRAINED = "train_dataloader = train_cfg = optim_wrapper = None\n"

# Stand-ins for the tools, which note their command lines and do what FILE says.
FAKE_TRAIN = """
import json, shutil, sys
from pathlib import Path
tools = Path(__file__).parent
work_dir = Path(sys.argv[sys.argv.index("--work-dir") + 1])
with open(tools / "calls", "a") as file:
    file.write(json.dumps(["train", *sys.argv[1:]]) + "\\n")
epoch = int((tools / "reaches_epoch").read_text())
if epoch:
    shutil.copy(tools / f"epoch_{epoch}.pth", work_dir)
    (work_dir / "last_checkpoint").write_text(f"/gone/epoch_{epoch}.pth")
(work_dir / "now").mkdir(exist_ok=True)
(work_dir / "now" / "now.log").write_text("log")
sys.exit(0 if epoch == 2 else 3)
"""
FAKE_TEST = """
import json, sys
from pathlib import Path
tools = Path(__file__).parent
with open(tools / "calls", "a") as file:
    file.write(json.dumps(["test", *sys.argv[1:]]) + "\\n")
score = 60. if "--tta" in sys.argv else 50.
Path(sys.argv[sys.argv.index("--out") + 1]).write_text(
    json.dumps({"multi-label/mAP": score, "multi-label/mAP_head": float("nan")}))
"""


@pytest.fixture
def fake_tools(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "train.py").write_text(FAKE_TRAIN)
    (tools / "test.py").write_text(FAKE_TEST)
    for epoch in (1, 2):
        torch.save(dict(meta=dict(epoch=epoch, iter=3)), tools / f"epoch_{epoch}.pth")
    (tools / "reaches_epoch").write_text("2")
    return tools


def calls(tools):
    file = tools / "calls"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


@pytest.fixture
def plan(monkeypatch, config, tmp_path):
    """Plans a comparison in tmp_path; without names, of the tiny config."""

    def plan(*configs, tta=(), seeds=1, flags=(), options=()):
        monkeypatch.setenv("CAPNET_DATA_ROOT", "")
        monkeypatch.delenv("CAPNET_DATA_ROOT")
        configs = configs or (config,)
        return compare.plan_runs(configs, tta, seeds, tmp_path / "runs", flags, options)

    return plan


@pytest.fixture
def leaf(config, tmp_path):
    """Writes a config that inherits the tiny one."""

    def leaf(name, text):
        path = tmp_path / f"{name}.py"
        path.write_text(f"_base_ = '{config}'\n{text}")
        return str(path)

    return leaf


def test_two_seeds_are_trained_and_tested_by_the_tools_and_then_never_again(
    plan, config, data_root, tmp_path, monkeypatch, capsys
):
    flags = ["--data-root", data_root]
    runs = plan(seeds=2, flags=flags)
    compare.check_runs(runs)
    for run in runs:
        compare.complete_run(run, TOOLS)

    weights, found = [], []
    for seed in (0, 1):
        folder = tmp_path / "runs" / "tiny" / f"seed{seed}"
        weights.append(torch.load(folder / "epoch_2.pth")["state_dict"])
        found.append(json.loads((folder / "metrics.json").read_text()))
        # The scores are those of the last epoch, of a run with this seed.
        log = "".join(path.read_text() for path in folder.glob("2*/*.log"))
        assert f"seed: {seed}" in log
        last = re.findall(r"Epoch\(val\) \[2\].* multi-label/mAP: (\S+)", log)
        assert last == [f"{found[-1]['multi-label/mAP']:.4f}"]
    assert any(not torch.equal(weights[0][k], weights[1][k]) for k in weights[0])

    # All is there: the command line tool only makes the table.
    def refuse(*args, **kwargs):
        raise AssertionError("nothing was left to do")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    command = [config, *flags, "--seeds", "2", "--work-dir", str(tmp_path / "runs")]
    main(monkeypatch, *command)
    totals = [scores["multi-label/mAP"] for scores in found]
    row = json.loads((tmp_path / "runs" / "comparison.json").read_text())["rows"][0]
    assert row["mean"]["total"] == pytest.approx(np.mean(totals))
    assert row["std"]["total"] == pytest.approx(np.std(totals, ddof=1))
    assert [run["mAP"]["total"] for run in row["runs"]] == totals
    assert all(run["training_seconds"] > 0 for run in row["runs"])
    assert row["mean"]["head"] is None  # twelve pictures: all classes are tail
    cell = f"{np.mean(totals):.1f} ± {np.std(totals, ddof=1):.1f}"
    assert cell in (tmp_path / "runs" / "comparison.md").read_text()
    page = (tmp_path / "runs" / "report.html").read_text()
    assert cell.replace("± ", "±&nbsp;") in page
    assert cell in capsys.readouterr().out


def main(monkeypatch, *command):
    monkeypatch.setattr(sys, "argv", ["compare.py", *command])
    script = TOOLS / "compare.py"
    exec(
        compile(script.read_text(), script, "exec"),
        dict(__name__="__main__", __file__=str(script)),
    )


def test_tools_get_the_flags_and_the_last_checkpoint(plan, config, fake_tools):
    flags = ("--data-root", "some where")
    (run,) = plan(tta=[config], flags=flags, options=["a.b=1", "c=[2,3]"])
    compare.complete_run(run, fake_tools)
    train, test, tta = calls(fake_tools)
    options = ["--cfg-options", "a.b=1", "c=[2,3]", "randomness.seed=0"]
    tail = [*flags, *options]
    folder = str(run.folder)
    assert train == ["train", config, "--work-dir", folder, *tail]
    checkpoint = f"{folder}/epoch_2.pth"  # also where the note names another folder
    assert test[:3] == tta[:3] == ["test", config, checkpoint]
    assert test[-len(tail) :] == tta[-len(tail) :] == tail
    assert ("--tta" in test, "--tta" in tta) == (False, True)
    rows = table.read_rows([run])
    assert [(row.label, row.values["total"]) for row in rows] == [
        ("tiny", (50.0,)),
        ("tiny + TTE", (60.0,)),
    ]
    compare.complete_run(run, fake_tools)
    assert len(calls(fake_tools)) == 3


def test_a_failed_training_is_named_kept_and_resumed(plan, config, fake_tools):
    first, second = plan(seeds=2)
    compare.complete_run(first, fake_tools)
    (fake_tools / "reaches_epoch").write_text("1")
    message = r"training of tiny, seed 1 \(.*tiny.py\) has failed \(exit status 3\)"
    with pytest.raises(RuntimeError, match=message) as error:
        compare.complete_run(second, fake_tools)
    assert str(second.folder / "now" / "now.log") in str(error.value)
    assert first.metrics_file(tta=False).is_file()
    assert not compare.is_trained(second)
    before = compare.read_record(second)["training_seconds"]
    assert before > 0

    (fake_tools / "reaches_epoch").write_text("2")
    for run in plan(seeds=2):
        compare.complete_run(run, fake_tools)
    resumed, tested = calls(fake_tools)[3:]
    assert resumed[2:4] == ["--resume", str(second.folder / "epoch_1.pth")]
    assert tested[0] == "test"
    assert compare.read_record(second)["training_seconds"] > before


def test_the_time_of_a_training_that_was_killed_is_unknown(plan, fake_tools):
    (run,) = plan()
    compare.write_record(run, training_seconds=None)  # as training begins with
    shutil.copy(fake_tools / "epoch_1.pth", run.folder)
    (run.folder / "last_checkpoint").write_text("epoch_1.pth")
    compare.complete_run(run, fake_tools)
    assert calls(fake_tools)[0][2] == "--resume"
    assert compare.read_record(run)["training_seconds"] is None


def test_scores_of_a_model_that_is_trained_again_are_not_kept(plan, fake_tools):
    (run,) = plan()
    compare.complete_run(run, fake_tools)
    (run.folder / "epoch_2.pth").unlink()
    (fake_tools / "reaches_epoch").write_text("0")
    with pytest.raises(RuntimeError, match="training of tiny"):
        compare.complete_run(run, fake_tools)
    assert not run.metrics_file(tta=False).exists()


def test_training_that_ends_early_is_no_finished_run(plan, fake_tools):
    code = FAKE_TRAIN.replace("0 if epoch == 2 else 3", "0")
    (fake_tools / "train.py").write_text(code)
    (fake_tools / "reaches_epoch").write_text("1")
    (run,) = plan()
    with pytest.raises(RuntimeError, match="epoch_1.pth is not of its end"):
        compare.complete_run(run, fake_tools)


def test_a_test_that_fails_leaves_no_scores(plan, fake_tools):
    code = FAKE_TEST + "sys.exit(1)\n"
    (fake_tools / "test.py").write_text(code)
    (run,) = plan()
    with pytest.raises(RuntimeError, match="The test of tiny, seed 0"):
        compare.complete_run(run, fake_tools)
    assert not run.metrics_file(tta=False).exists()
    (fake_tools / "test.py").write_text(FAKE_TEST)
    compare.complete_run(run, fake_tools)
    assert [call[0] for call in calls(fake_tools)] == ["train", "test", "test"]


def test_a_config_without_training_is_tested_once(plan, config, leaf, fake_tools):
    zero_shot = leaf("zero_shot", UNTRAINED)
    runs = plan(zero_shot, config, seeds=3)
    assert [(run.label, run.seed) for run in runs] == [
        ("zero shot", 0),
        ("tiny", 0),
        ("tiny", 1),
        ("tiny", 2),
    ]
    compare.complete_run(runs[0], fake_tools)
    (call,) = calls(fake_tools)
    assert call[:3] == ["test", zero_shot, "--out"]


def test_training_a_config_without_training_is_refused(leaf, run_tool):
    with pytest.raises(ValueError, match="nothing to train.*tools/test.py"):
        run_tool("train.py", leaf("zero_shot", UNTRAINED))


def test_iterations_are_counted_where_training_is_not_by_epoch(plan, leaf, fake_tools):
    def run_with(iterations):
        return plan(
            leaf(
                f"iterations_{iterations}",
                "train_cfg = dict(_delete_=True, by_epoch=False, "
                f"max_iters={iterations})",
            )
        )[0]

    for iterations, trained in ((3, True), (4, False)):
        run = run_with(iterations)
        run.folder.mkdir(parents=True)
        shutil.copy(fake_tools / "epoch_2.pth", run.folder)
        (run.folder / "last_checkpoint").write_text("epoch_2.pth")
        assert compare.is_trained(run) is trained


def test_a_changed_config_is_named_and_only_its_folder_made_anew(
    plan, config, leaf, fake_tools
):
    text = "optim_wrapper = dict(optimizer=dict(lr={}))"
    other = leaf("other", text.format(0.5))
    for run in plan(config, other):
        compare.complete_run(run, fake_tools)
    compare.check_runs(plan(config, other))  # nothing has changed

    leaf("other", text.format(0.25))
    runs = plan(config, other)
    match = "runs/other/seed0 was made with other settings"
    with pytest.raises(ValueError, match=match) as error:
        compare.check_runs(runs)
    assert "optim_wrapper.optimizer.lr: 0.5, now 0.25" in str(error.value)
    assert "--restart" in str(error.value)
    assert all(run.metrics_file(tta=False).exists() for run in runs)
    compare.check_runs(runs, restart=True)
    assert runs[0].metrics_file(tta=False).exists()
    assert not runs[1].folder.exists()


def test_a_folder_that_is_not_of_a_comparison_is_left_alone(plan):
    (run,) = plan()
    run.folder.mkdir(parents=True)
    (run.folder / "precious.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not of a comparison"):
        compare.check_runs([run], restart=True)
    assert (run.folder / "precious.txt").exists()


def test_differences_between_configs_are_named():
    old = dict(a=1, b=dict(c=[1, 2], d=None), e=[], f=2)
    new = dict(a=1, b=dict(c=[1, 3], d=None), e=[], g={})
    assert compare.changed_settings(old, new) == [
        "b.c.1: 2, now 3",
        "f: 2, now (absent)",
        "g: (absent), now {}",
    ]
    assert compare.changed_settings(old, old) == []


def test_impossible_comparisons_are_refused(plan, config, leaf, tmp_path):
    other = leaf("other", "")
    (tmp_path / "copy").mkdir()
    same_stem = tmp_path / "copy" / "tiny.py"
    same_stem.write_text(Path(config).read_text())
    with pytest.raises(ValueError, match="same file name, tiny"):
        plan(config, str(same_stem))
    with pytest.raises(ValueError, match="same label, tiny"):
        plan(config, f"{other}=tiny")
    with pytest.raises(ValueError, match="--tta .*other.py: not among"):
        plan(config, tta=[other])
    without = leaf("without", "tta_model = None")
    with pytest.raises(ValueError, match="has no tta_model"):
        plan(without, tta=[without])
    with pytest.raises(ValueError, match="--seeds 0"):
        plan(seeds=0)
    with pytest.raises(FileNotFoundError, match="config file nope.py"):
        plan("nope.py")


def test_ctrl_c_ends_the_tool_that_is_running(monkeypatch):
    process = subprocess.Popen(["sleep", "60"])
    wait = process.wait

    def interrupted(timeout=None):
        monkeypatch.setattr(process, "wait", wait)
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare._wait(process, patience=0.1)
    assert process.returncode is not None


def make_rows(plan, leaf, values):
    """A row for each list of totals; the tails are half of them."""
    rows = []
    for index, totals in enumerate(values):
        runs = plan(leaf(f"row_{index}", ""), seeds=len(totals))
        columns = dict(
            total=tuple(totals),
            head=(math.nan,) * len(totals),
            medium=tuple(totals),
            tail=tuple(total / 2 for total in totals),
        )
        rows.append(table.ComparisonRow(f"row {index}", False, tuple(runs), columns))
    return rows


def test_cells_are_mean_and_sample_deviation_and_the_best_are_bold(plan, leaf):
    totals = [40.0, 50.0, 63.0]
    rows = make_rows(plan, leaf, [totals, [51.01], [50.96]])
    lines = table.comparison_table(rows).to_markdown().splitlines()
    mean, std = statistics.mean(totals), statistics.stdev(totals)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:5]]
    assert cells[0] == [
        "row 0",
        f"**{mean:.1f} ± {std:.1f}**",
        "–",
        f"**{mean:.1f} ± {std:.1f}**",
        f"**{mean / 2:.1f} ± {std / 2:.1f}**",
    ]
    # To the digit that is shown all three are 51.0; half of them are 25.5.
    assert cells[1] == ["row 1", "**51.0**", "–", "**51.0**", "**25.5**"]
    assert cells[2] == ["row 2", "**51.0**", "–", "**51.0**", "**25.5**"]
    assert table.best_rows(rows, "head") == set()
    worse = make_rows(plan, leaf, [[10.0], [20.0]])
    assert table.best_rows(worse, "tail") == {1}


def test_the_page_shows_the_table_and_the_pictures_of_the_chosen_config(
    plan, config, leaf, tmp_path
):
    runs = plan(config, f"{leaf('second', '')}=<second>", leaf("third", UNTRAINED))
    classes = [dict(group=group) for group in ("head", "tail", "tail")]
    for index, run in enumerate(runs):
        compare.write_record(run, training_seconds=60.0 * index)
        run.metrics_file(tta=False).write_text(
            json.dumps({"multi-label/mAP": 10.0 * index})
        )
        if run.trains:
            report = run.folder / "report"
            report.mkdir()
            for theme, gray in (("", 250), ("_dark", 5)):
                image = Image.new("RGB", (8, 8), (index, gray, gray))
                image.save(report / f"per_class_ap{theme}.png")
            (report / "report.json").write_text(json.dumps(dict(classes=classes)))

    rows = table.read_rows(runs)
    chosen, _ = table.choose_report(rows, None)
    assert chosen.label == "<second>"  # the last one that has pictures
    table.write_comparison(tmp_path, rows, "the command", config)
    page = (tmp_path / "report.html").read_text()
    assert "A closer look at tiny" in page
    assert "1 head, 0 medium, 2 tail" in page
    assert page.count("data:image/png") == 2  # light and dark
    assert "&lt;second&gt;" in page and "<second>" not in page
    assert "<strong>20.0</strong>" in page
    assert "the command" in page
    with pytest.raises(ValueError, match="--pictures .*third.py"):
        table.write_comparison(tmp_path, rows, "", runs[2].config)


def test_scores_without_map_are_refused(plan):
    (run,) = plan()
    run.folder.mkdir(parents=True)
    run.metrics_file(tta=False).write_text('{"accuracy/top1": 1.0}')
    with pytest.raises(ValueError, match="LongTailMAP"):
        table.read_rows([run])
