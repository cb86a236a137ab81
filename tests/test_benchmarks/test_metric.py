from benchmarks import metric

from .conftest import run


def test_metric_is_scikit_learns(tiny_clip):
    options = ("--images", "500", "--classes", "20", "--sklearn-classes", "10")
    precision, loss = run(metric, tiny_clip, *options)
    assert precision.max_difference < 1e-12
    assert set(precision.timings) == {"scikit-learn", "ours", "ours, all"}
    assert set(loss.timings) == {"C = 2", "C = 20"}
