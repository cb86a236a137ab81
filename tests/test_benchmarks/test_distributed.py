import pytest

from benchmarks import distributed

from .conftest import run


def test_groups_of_processes_are_measured_in_turns_and_predicted(tiny_clip):
    options = ("--classes", "9", "--batch-size", "2", "--processes", "1", "2")
    one, two = run(distributed, tiny_clip, *options)
    units = "on the clock", "of a processor"
    expected = {f"{name}, {unit}" for name in distributed.NAMES for unit in units}
    assert set(one.timings) == set(two.timings) == expected
    assert one.figure.startswith("text encoder 1.00 ± 0.00 × on the clock")
    # Of the only round: the model's constants are one process's own.
    assert one.figure.count("= 1.00 × the") == 2
    assert "2 processes" in two.what and "predicted step" in two.figure


def test_the_cost_model_shares_the_text_branch_and_has_processes_take_turns():
    costs = dict(image=3.0, text=8.0, communication=0.5)
    assert distributed.predict(**costs, processes=4) == 3.0 + 2.0 + 0.5
    two_each = distributed.predict(**costs, processes=4, turns=2)
    assert two_each == 2 * (3.0 + 2.0) + 0.5


def test_constants_are_those_of_one_process(tiny_clip):
    with pytest.raises(ValueError, match=r"--processes \[2\]: the first must be 1"):
        run(distributed, tiny_clip, "--processes", "2")
