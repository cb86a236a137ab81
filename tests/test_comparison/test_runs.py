import shutil
import subprocess
from pathlib import Path

import pytest

from capnet_mm.comparison import runs as compare
from capnet_mm.comparison import table

from .conftest import FAKE_TEST, FAKE_TRAIN, UNTRAINED, calls

TOOLS = Path(__file__).resolve().parents[2] / "tools"


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
    first, second = plan(seeds=(0, 1))
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
    for run in plan(seeds=(0, 1)):
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
    runs = plan(zero_shot, config, seeds=(0, 1, 2))
    assert [(run.label, run.seed) for run in runs] == [
        ("zero shot", 0),
        ("tiny", 0),
        ("tiny", 1),
        ("tiny", 2),
    ]
    compare.complete_run(runs[0], fake_tools)
    (call,) = calls(fake_tools)
    assert call[:3] == ["test", zero_shot, "--out"]


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
    with pytest.raises(ValueError, match="--seeds: at least one"):
        plan(seeds=())
    with pytest.raises(ValueError, match="same seed, 3"):
        plan(seeds=(3, 1, 3))
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
