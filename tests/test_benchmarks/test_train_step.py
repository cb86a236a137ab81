from benchmarks import train_step

from .conftest import run


def test_training_step(clips):
    (row,) = run(train_step, clips["vit"], "--classes", "6", "--batch-size", "2")
    assert set(row.timings) == {"all weights in autograd", "weights frozen", "ours"}
    assert row.max_difference < 1e-5
