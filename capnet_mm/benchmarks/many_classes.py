"""Training the head with thousands of class names."""

import argparse

import torch

from ..models import CorrelationPromptHead
from .cases import class_names
from .measure import Measurement, Timing, device_name, interleave, peak_memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the sizes to measure."""
    parser.add_argument(
        "--classes",
        type=int,
        nargs="+",
        default=[1000, 1203, 10000],
        help="numbers of classes; default: 1000 1203 10000",
    )
    parser.add_argument("--batch-size", type=int, default=32, help="B; default: 32")
    parser.add_argument(
        "--chunk-size",
        type=int,
        default=512,
        help="classes that are encoded at once; default: 512",
    )


def run(args: argparse.Namespace) -> list[Measurement]:
    """Measure loss and gradients of the head for every number of classes."""
    rows: list[Measurement] = []
    for num_classes in args.classes:
        timing, peak = _measure(args, num_classes)
        rows.append(_row(args, num_classes, timing, peak, rows[0] if rows else None))
    return rows


def _measure(args: argparse.Namespace, num_classes: int) -> tuple[Timing, int]:
    torch.manual_seed(0)
    head = CorrelationPromptHead(
        classes=class_names(num_classes),
        text_encoder=dict(model=args.clip, chunk_size=args.chunk_size),
    ).to(args.device)
    head.loss_module.set_class_counts([10] * num_classes, 1000)
    features = torch.randn(args.batch_size, head.text_encoder.out_dim).to(args.device)
    target = (torch.rand(args.batch_size, num_classes) < 0.01).float().to(args.device)

    def step() -> None:
        head.zero_grad()
        head.loss_module(head((features,)), target).backward()

    peak = peak_memory(step, args.device)  # is the warm-up as well
    timings = interleave({"step": step}, args.rounds, warmup=0, device=args.device)
    return timings["step"], peak


def _row(
    args: argparse.Namespace,
    num_classes: int,
    timing: Timing,
    peak: int,
    first: Measurement | None,
) -> Measurement:
    figure, met = "", None
    if first is not None:
        fewest = args.classes[0]
        memory = peak / first.peak_bytes["step"]
        per_class = timing.median / num_classes
        per_class /= first.timings["step"].median / fewest
        figure = (
            f"{memory:.2f}× the memory and {per_class:.2f}× the time a class of "
            f"C = {fewest:,}"
        )
        met = memory <= 3
    return Measurement(
        what=f"training the head, {args.clip}'s text tower, C = {num_classes:,}",
        device=device_name(args.device),
        timings={"step": timing},
        figure=figure,
        target="≤ 3× the memory, time linear in C" if first else "",
        met=met,
        peak_bytes={"step": peak},
        note=f"loss and gradients on {args.batch_size} image features; text encoded "
        f"in parts of {args.chunk_size} and again in the backward pass",
    )
