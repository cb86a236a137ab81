from benchmarks import gpu_use

from .conftest import run


def test_gpu_use_says_when_there_is_no_gpu(tiny_clip):
    (row,) = run(gpu_use, tiny_clip)
    assert row.note == "no CUDA device"
    assert row.met is None
