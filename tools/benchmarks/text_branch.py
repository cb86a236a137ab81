"""Text branch alone: prompts, text tower, and back to the context tokens."""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from capnet_mm.models import CLIPTextEncoder, SoftPrompt
from capnet_mm.models.towers.batching import length_buckets

from .baselines import FullLengthTextEncoder, everything_in_autograd
from .cases import class_names
from .measure import (
    Measurement,
    count_flops,
    device_name,
    interleave,
    max_difference,
    paired_ratio,
    peak_memory,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the sizes to measure."""
    parser.add_argument("--classes", type=int, default=80, help="C; default: 80")
    parser.add_argument("--num-context", type=int, default=16, help="M; default: 16")


def run(args: argparse.Namespace) -> list[Measurement]:
    """Measure ours against both usual ways."""
    torch.manual_seed(0)
    ours = CLIPTextEncoder(args.clip)
    frozen = FullLengthTextEncoder(args.clip)
    frozen.load_state_dict(ours.state_dict())
    trained = FullLengthTextEncoder(args.clip)
    trained.load_state_dict(ours.state_dict())
    names = class_names(args.classes)
    prompt = SoftPrompt(names, ours, num_context=args.num_context)
    for module in (prompt, ours, frozen, trained):
        module.to(args.device)

    def usual() -> list[Tensor]:
        with everything_in_autograd(trained):
            return _step(trained, prompt)

    variants = {
        "all weights in autograd": usual,
        "weights frozen": lambda: _step(frozen, prompt),
        "ours": lambda: _step(ours, prompt),
    }
    timings = interleave(variants, args.rounds, device=args.device)
    peaks = {name: peak_memory(f, args.device) for name, f in variants.items()}
    flops = {name: count_flops(f) for name, f in variants.items()}
    needed = count_flops(_least_work(ours, prompt))
    first = paired_ratio(timings["all weights in autograd"], timings["ours"])
    second = paired_ratio(timings["weights frozen"], timings["ours"])
    memory = peaks["ours"] / peaks["all weights in autograd"]
    return [
        Measurement(
            what=f"text branch forward + backward, {args.clip}, C = {args.classes}, "
            f"M = {args.num_context}",
            device=device_name(args.device),
            timings=timings,
            figure=f"{first.median:.2f}× ± {first.spread / 2:.2f} faster, "
            f"{memory:.2f}× memory; than with frozen weights {second.median:.2f}×, "
            f"{peaks['ours'] / peaks['weights frozen']:.2f}×",
            target="≥ 6× faster, ≤ 0.3× memory, difference ≤ 1e-5",
            met=first.median >= 6 and memory <= 0.3,
            peak_bytes=peaks,
            max_difference=max_difference(variants["ours"](), usual()),
            note="GFLOP: "
            + ", ".join(f"{name} {n / 1e9:.0f}" for name, n in flops.items())
            + f"; needed {needed / 1e9:.0f}",
        )
    ]


def _step(encoder: CLIPTextEncoder, prompt: SoftPrompt) -> list[Tensor]:
    """Features of unit length, and the gradient of their sum at the context tokens.

    The gradient is divided by its largest entry: it has no scale of its own.
    """
    prompt.zero_grad()
    features = F.normalize(prompt(encoder), dim=-1)
    features.sum().backward()
    gradient = prompt.context.grad
    return [features.detach(), gradient / gradient.abs().max()]


def _least_work(encoder: CLIPTextEncoder, prompt: SoftPrompt) -> Callable[[], object]:
    """Forward and backward of every prompt at its own length: no padding."""

    def run_all() -> None:
        lengths, order = prompt.assemble()[1].add(1).sort()
        start = 0
        for size, length in length_buckets(lengths.tolist(), overhead=0):
            rows = order[start : start + size]
            embeddings, eos_index = prompt.assemble()
            part = embeddings[rows, :length], eos_index[rows], prompt.num_shared
            encoder(*part).sum().backward()
            start += size

    return run_all
