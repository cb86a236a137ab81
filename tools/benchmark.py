#!/usr/bin/env python
"""What the method costs: ``python tools/benchmark.py text-branch``."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

# Kineto, which counts memory, reports its starts and stops on stderr.
os.environ.setdefault("KINETO_LOG_LEVEL", "5")
if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch  # noqa: E402

import capnet_mm  # noqa: E402, F401  (makes torchvision importable)
from benchmarks import (  # noqa: E402
    data,
    distributed,
    exported,
    gpu_use,
    many_classes,
    metric,
    prediction,
    text_branch,
    train_step,
)
from benchmarks.measure import to_markdown, write_json  # noqa: E402
from capnet_mm import cli  # noqa: E402

BENCHMARKS = {
    "text-branch": text_branch,
    "train-step": train_step,
    "prediction": prediction,
    "many-classes": many_classes,
    "metric": metric,
    "distributed": distributed,
    "gpu-use": gpu_use,
    "data": data,
    "exported": exported,
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure CAPNET against what a user would run instead: variants "
        "in turns, medians over rounds, peak memory, largest difference of results"
    )
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, module in BENCHMARKS.items():
        summary = module.__doc__.splitlines()[0]
        benchmark = names.add_parser(name, help=summary, description=summary)
        benchmark.add_argument(
            "--device", default="cpu", help="cpu, cuda or cuda:N; default: cpu"
        )
        benchmark.add_argument(
            "--rounds",
            type=int,
            default=5,
            help="timed runs of every variant; default: 5",
        )
        benchmark.add_argument(
            "--clip",
            default="ViT-B-16",
            help="open_clip's name of the CLIP, whose weights are random; default: "
            "ViT-B-16",
        )
        benchmark.add_argument(
            "--out", metavar="FILE", help="also write the rows to this JSON file"
        )
        module.add_arguments(benchmark)
    args = parser.parse_args()
    if torch.device(args.device).type == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device {args.device}: there is no CUDA device here.")
    return args


def main() -> None:
    """Measure, print the table, write the file."""
    args = parse_args()
    cli.keep_freed_memory()  # as the tools that train and test
    rows = BENCHMARKS[args.name].run(args)
    print(to_markdown(rows))
    if args.out:
        write_json(args.out, rows)


if __name__ == "__main__":
    main()
