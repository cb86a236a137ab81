from benchmarks import text_branch

from .conftest import run


def test_text_branch(tiny_clip):
    (row,) = run(text_branch, tiny_clip, "--classes", "12")
    assert set(row.timings) == {"all weights in autograd", "weights frozen", "ours"}
    assert set(row.peak_bytes) == set(row.timings)
    assert row.peak_bytes["ours"] < row.peak_bytes["weights frozen"]
    assert 0 < row.max_difference < 1e-5
