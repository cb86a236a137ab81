import re

from benchmarks import prediction

from .conftest import run


def test_prediction_is_the_bare_towers_and_the_ensemble_the_loops(clips):
    options = ("--classes", "6", "--batch-size", "2")
    one_view, local_pooling, five_views = run(prediction, clips["vit"], *options)
    assert one_view.max_difference == 0
    assert five_views.max_difference < 1e-5
    assert set(one_view.timings) == {"bare image tower", "usual way", "ours"}
    assert set(local_pooling.timings) == {"bare image tower", "ours"}
    # The text branch, encoded before, is not counted: it is several times the tower.
    operations = re.search(r"([\d.]+) of its operations", local_pooling.figure)
    assert 0.8 < float(operations[1]) < 1.2
