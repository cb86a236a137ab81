import argparse

import pytest

from capnet_mm.comparison.command_line import (
    add_run_arguments,
    complete_runs,
    run_flags,
)

from .conftest import calls


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser()
    add_run_arguments(parser)
    return parser


def test_flags_of_the_data_and_of_the_console_are_handed_on(parser):
    args = parser.parse_args(["--data-root", "a b", "--clip", "RN50"])
    assert run_flags(parser, args) == [
        "--data-root",
        "a b",
        "--clip",
        "RN50",
        "--quiet",
    ]
    assert run_flags(parser, parser.parse_args(["--verbose"])) == ["--verbose"]


def test_a_seed_among_the_options_is_refused(parser, capsys):
    args = parser.parse_args(["--cfg-options", "a=1", "randomness.seed=3"])
    with pytest.raises(SystemExit):
        run_flags(parser, args)
    assert "seeds are set by --seeds" in capsys.readouterr().err


def test_a_run_that_fails_ends_the_program_with_its_name(plan, fake_tools):
    runs = plan(seeds=(0, 1))
    (fake_tools / "reaches_epoch").write_text("0")
    with pytest.raises(SystemExit, match="training of tiny, seed 0"):
        complete_runs(runs, False, fake_tools)
    (fake_tools / "reaches_epoch").write_text("2")
    complete_runs(runs, False, fake_tools)
    assert [call[0] for call in calls(fake_tools)] == ["train", *("train", "test") * 2]
