"""What the tools that run several configs share."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from capnet_mm.cli.config import add_data_arguments, data_arguments

from .runs import Run, check_runs, complete_run


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how all runs are made.

    Args:
        parser: Changed in place.
    """
    parser.add_argument(
        "--restart",
        action="store_true",
        help="delete and repeat the runs whose config has changed since",
    )
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="show the whole log of every run; the log files always have everything",
    )
    add_data_arguments(parser)
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="override parts of all configs, as in tools/train.py",
    )


def run_flags(parser: argparse.ArgumentParser, args: argparse.Namespace) -> list[str]:
    """Flags of each run's tools, as words, but for ``--cfg-options``.

    Args:
        parser: Ends the program where a seed is among the options.
        args: Arguments of a parser with :func:`add_run_arguments`.
    """
    if any(option.startswith("randomness.seed=") for option in args.cfg_options):
        parser.error("--cfg-options randomness.seed=…: seeds are set by --seeds")
    return [*data_arguments(args), "--verbose" if args.verbose else "--quiet"]


def complete_runs(planned: Sequence[Run], restart: bool, tools: Path) -> None:
    """Do what is left of all runs, and end the program where one fails.

    Args:
        planned: All runs.
        restart: Delete the folders of runs whose config has changed since.
        tools: Folder with ``train.py`` and ``test.py``.
    """
    check_runs(planned, restart)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        for number, run in enumerate(planned, start=1):
            print(f"[{number}/{len(planned)}] ", end="")
            complete_run(run, tools)
    except RuntimeError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        sys.exit(130)
