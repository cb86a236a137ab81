#!/usr/bin/env python
"""Run all combinations that a file names, one table: ``python tools/grid.py GRID.py``.

A grid that was stopped goes on with the same command. Flags that the tool does not
know are handed on to the tools that train and test.
"""

import argparse
import importlib.util
import shlex
import sys
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from capnet_mm import cli  # noqa: E402
from capnet_mm.comparison import command_line, grid, paired, runs, table  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("grid", metavar="GRID.py", help="the file; see docs/grid.md")
    parser.add_argument(
        "--work-dir",
        help="folder for all runs and the table; default: work_dirs/ and the name of "
        "the file",
    )
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=[0],
        metavar="SEED",
        help="train each row with each of them; default: 0",
    )
    command_line.add_run_arguments(parser)
    args, others = parser.parse_known_args()
    args.flags = [*command_line.run_flags(parser, args), *others]
    if args.work_dir is None:
        args.work_dir = str(Path("work_dirs", Path(args.grid).stem))
    return args


def main() -> None:
    """Run the grid."""
    args = parse_args()
    cli.prepare_console("log" if args.verbose else "warnings")
    plan = grid.read_grid(args.grid)
    configs = grid.write_configs(plan, Path(args.work_dir, "configs"))
    planned = runs.plan_runs(
        [f"{path}={label}" for label, path in configs.items()],
        list(configs.values()) if plan.tta else [],
        args.seeds,
        args.work_dir,
        args.flags,
        args.cfg_options,
    )
    command_line.complete_runs(planned, args.restart, Path(__file__).parent)
    write_results(args.work_dir, table.read_rows(planned), plan.reference)


def write_results(work_dir: str, rows: list, reference: str) -> None:
    """Write table, differences and report, and print the tables."""
    command = shlex.join(["python", *sys.argv])
    table.comparison_table(rows).print()
    findings, more = None, {}
    if len(rows) > 1:
        compared = paired.compare_paired(rows, reference)
        paired.paired_table(compared).print()
        findings = paired.paired_section(compared)
        more = dict(paired=paired.as_plain(compared))
    table.write_comparison(work_dir, rows, command, None, findings, **more)
    report = Path(work_dir, "report.html").resolve()
    print(f"The report, to be opened in a browser: {report.as_uri()}")


if __name__ == "__main__":
    main()
