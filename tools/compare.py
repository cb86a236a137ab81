#!/usr/bin/env python
"""Train and test several configs, one table: ``python tools/compare.py CONFIG …``.

A comparison that was stopped goes on with the same command.
"""

import argparse
import importlib.util
import shlex
import sys
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from capnet_mm import cli  # noqa: E402
from capnet_mm.comparison import command_line, runs, table  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "configs",
        nargs="+",
        metavar="CONFIG[=LABEL]",
        help="config files, and maybe their names in the table",
    )
    parser.add_argument(
        "--tta",
        nargs="+",
        default=[],
        metavar="CONFIG",
        help="which of them get a second row with the test-time ensemble",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="train each with the seeds 0 to N-1; default: %(default)s",
    )
    parser.add_argument(
        "--work-dir",
        help="folder for all runs and the table; default: work_dirs/ and the name of "
        "the folder of the first config",
    )
    parser.add_argument(
        "--images",
        metavar="CONFIG",
        help="config whose figures the report shows; default: the last that left any",
    )
    command_line.add_run_arguments(parser)
    args = parser.parse_args()
    args.flags = command_line.run_flags(parser, args)
    if args.work_dir is None:
        first = Path(args.configs[0]).resolve()
        args.work_dir = str(Path("work_dirs", first.parent.name))
    return args


def main() -> None:
    """Compare."""
    args = parse_args()
    cli.prepare_console("log" if args.verbose else "warnings")
    planned = runs.plan_runs(
        args.configs,
        args.tta,
        range(args.seeds),
        args.work_dir,
        args.flags,
        args.cfg_options,
    )
    command_line.complete_runs(planned, args.restart, Path(__file__).parent)
    rows = table.read_rows(planned)
    command = shlex.join(["python", *sys.argv])
    table.write_comparison(args.work_dir, rows, command, args.images)
    table.comparison_table(rows).print()
    report = Path(args.work_dir, "report.html").resolve()
    print(f"The report, to be opened in a browser: {report.as_uri()}")


if __name__ == "__main__":
    main()
