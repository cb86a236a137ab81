"""Curves: one training from the logs of several runs."""

import json

from capnet_mm.visualization import read_curves


def write_run(work_dir, start, rows, tail=""):
    folder = work_dir / start / "vis_data"
    folder.mkdir(parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "scalars.json").write_text(lines + tail)


def iteration(step, loss, epoch=1, **more):
    return dict(lr=step / 1000, loss=loss, time=0.1, epoch=epoch, step=step, **more)


def validation(step, **scores):
    scores = {f"multi-label/{name}": value for name, value in scores.items()}
    return {**scores, "data_time": 0.1, "time": 0.2, "step": step}


def test_one_run_gives_its_numbers(tmp_path):
    rows = [
        iteration(10, 3.0, loss_cls=2.0, grad_norm=7.0),
        iteration(20, 2.0, loss_cls=1.0, grad_norm=6.0),
        validation(1, mAP=40.0, mAP_tail=float("nan")),
    ]
    write_run(tmp_path, "20260101_000000", rows)
    curves = read_curves(tmp_path)
    assert curves.losses == dict(
        loss=([10, 20], [3.0, 2.0]), loss_cls=([10, 20], [2, 1])
    )
    assert curves.learning_rates == dict(lr=([10, 20], [0.01, 0.02]))
    assert curves.scores["multi-label/mAP"] == ([1], [40.0])
    assert set(curves.scores) == {"multi-label/mAP", "multi-label/mAP_tail"}
    assert curves.score_unit == "epoch"


def test_a_resumed_run_replaces_what_was_done_twice(tmp_path):
    # 25 iterations an epoch. The first run died in epoch 3, its line half written;
    # the second went on from the checkpoint of epoch 1, the third from epoch 2.
    first = [
        iteration(10, 9.0),
        iteration(20, 8.0),
        validation(1, mAP=10.0),
        iteration(35, 7.0, 2),
        iteration(45, 6.0, 2),
        validation(2, mAP=20.0),
        iteration(60, 5.0, 3),
    ]
    second = [iteration(35, 7.5, 2), iteration(45, 6.5, 2), validation(2, mAP=25.0)]
    third = [iteration(60, 5.5, 3), iteration(70, 4.5, 3), validation(3, mAP=30.0)]
    # Written in another order than they ran in.
    write_run(tmp_path, "20260103_000000", third)
    write_run(tmp_path, "20260101_000000", first, tail='{"lr": 0.1, "lo')
    write_run(tmp_path, "20260102_000000", second)
    curves = read_curves(tmp_path)
    steps, losses = curves.losses["loss"]
    assert steps == [10, 20, 35, 45, 60, 70]
    assert losses == [9.0, 8.0, 7.5, 6.5, 5.5, 4.5]
    assert curves.scores["multi-label/mAP"] == ([1, 2, 3], [10.0, 25.0, 30.0])


def test_a_training_from_the_start_replaces_an_earlier_one(tmp_path):
    old = [iteration(10, 9.0), iteration(20, 8.0), validation(1, mAP=10.0)]
    write_run(tmp_path, "20260101_000000", old)
    write_run(tmp_path, "20260102_000000", [iteration(10, 5.0)])
    curves = read_curves(tmp_path)
    assert curves.losses["loss"] == ([10], [5.0])
    assert curves.scores == {}


def test_mere_evaluations_between_leave_the_curves_alone(tmp_path):
    write_run(tmp_path, "20260101_000000", [iteration(10, 9.0), validation(1, mAP=1.0)])
    write_run(tmp_path, "20260102_000000", [validation(0, mAP=99.0)])
    (tmp_path / "20260103_000000" / "vis_data").mkdir(parents=True)  # a test run's
    curves = read_curves(tmp_path)
    assert curves.scores["multi-label/mAP"] == ([1], [1.0])


def test_training_by_iterations_counts_validations_in_iterations(tmp_path):
    rows = [
        dict(loss=3.0, lr=0.1, iter=100, step=100),
        dict(score=1.0, step=0),  # as LoggerHook writes them by default
        dict(loss=2.0, lr=0.1, iter=200, step=200),
        dict(score=2.0, step=0),
    ]
    write_run(tmp_path, "20260101_000000", rows)
    curves = read_curves(tmp_path)
    assert curves.scores["score"] == ([100, 200], [1.0, 2.0])
    assert curves.score_unit == "iteration"


def test_scores_of_single_classes_are_no_curves(tmp_path):
    rows = [iteration(10, 1.0), {"m/mAP": 1.0, "m/AP/dog": 2.0, "step": 1}]
    write_run(tmp_path, "20260101_000000", rows)
    assert set(read_curves(tmp_path).scores) == {"m/mAP"}


def test_a_work_dir_without_training_gives_empty_curves(tmp_path):
    assert read_curves(tmp_path).is_empty
