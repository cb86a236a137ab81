#!/usr/bin/env python
"""Say what pictures show: ``python tools/predict.py CHECKPOINT PICTURE…``."""

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from capnet_mm import cli  # noqa: E402
from capnet_mm.apis import writers  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Say what pictures show. The output is a table on a terminal and "
        "JSON lines elsewhere; the exit status is 1 if a picture could not be read, 2 "
        "if nothing could be done."
    )
    cli.add_model_arguments(parser)
    add = parser.add_argument
    add("pictures", nargs="+", help="files, folders (with subfolders) or patterns")
    add("--out", metavar="FILE", help="write to this .jsonl or .csv file")
    add("--draw", metavar="DIR", help="draw predictions into this folder")
    add("--topk", type=int, metavar="K", help="name so many classes")
    add(
        "--threshold",
        metavar="T",
        help="name what has this probability: a number, 'calibrated', or numbers by "
        """name as JSON, '{"dog": 0.3}'; the default is calibrated, or else 0.5""",
    )
    add("--tta", action="store_true", help="average several views of each picture")
    add("--batch-size", type=int, default=32, help="pictures at once; default: 32")
    add("--num-workers", type=int, help="processes that decode; default: by the CPUs")
    return parser.parse_intermixed_args()


def threshold(text: str | None) -> float | dict | str | None:
    """Read --threshold."""
    if text is None or text == "calibrated":
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"--threshold {text}: expected a number, 'calibrated', or numbers by name "
            """as JSON, '{"dog": 0.3}'."""
        ) from error


def write(results: Iterable[dict], writer: Callable) -> int:
    """Write results; the number of pictures that failed."""
    return sum("error" in result for result in writer(results))


def main() -> None:
    """Predict."""
    args = parse_args()
    cli.prepare_console("warnings")
    cli.keep_freed_memory()
    try:
        if args.out is not None:
            output = writers.open_writer(args.out)
        elif sys.stdout.isatty():
            output = nullcontext(writers.write_table)
        else:
            output = nullcontext(
                lambda results: writers.write_json_lines(results, sys.stdout)
            )
        inferencer = cli.build_inferencer(args)
        results = inferencer.stream(
            args.pictures,
            batch_size=args.batch_size,
            thr=threshold(args.threshold),
            topk=args.topk,
            tta=args.tta,
            num_workers=args.num_workers,
            show_dir=args.draw,
        )
        with output as writer:
            failed = write(results, writer)
    except BrokenPipeError:  # the reader has seen enough, as in `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, FileNotFoundError) as error:
        cli.stop(error)
    if failed:
        print(f"Pictures that could not be read: {failed}.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
