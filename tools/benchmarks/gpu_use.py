"""How much of a GPU's arithmetic a training step uses."""

import argparse

import torch
from torch.profiler import ProfilerActivity, profile

from .measure import Measurement, count_flops, device_name, interleave
from .train_step import TrainingStep

# Dense bf16, TFLOP/s, from the makers' data sheets (SXM).
_PEAK_TFLOPS = {"H100": 989, "H200": 989, "A100": 312, "B200": 2250}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the sizes to measure."""
    parser.add_argument("--classes", type=int, default=80, help="C; default: 80")
    parser.add_argument("--batch-size", type=int, default=256, help="B; default: 256")
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile the image tower"
    )


def run(args: argparse.Namespace) -> list[Measurement]:
    """Measure the share of the peak, and where the rest of the time goes."""
    what = f"GPU use, training step, {args.clip}, batch {args.batch_size}, bf16"
    target = "≥ 45 % of the dense bf16 peak"
    if torch.device(args.device).type != "cuda":
        return [
            Measurement(what=what, device="none", target=target, note="no CUDA device")
        ]
    # Counted without compilation, which hides operators from the counter.
    flops = count_flops(TrainingStep(args))
    step = TrainingStep(args, backbone=dict(compile=args.compile))
    timings = interleave({"ours": step}, args.rounds, warmup=3, device=args.device)
    done = flops / timings["ours"].median / 1e12
    name = device_name(args.device)
    peak = next((p for chip, p in _PEAK_TFLOPS.items() if chip in name), None)
    return [
        Measurement(
            what=what,
            device=name,
            timings=timings,
            figure=f"{done:.0f} TFLOP/s"
            + (f", {done / peak:.0%} of {peak}" if peak else ""),
            target=target,
            met=done / peak >= 0.45 if peak else None,
            note=f"{flops / 1e12:.2f} TFLOP a step; GPU time: {_profile(step)}",
        )
    ]


def _profile(step: TrainingStep, num_kernels: int = 6) -> str:
    """The kernels that take most of a step's time on the GPU, with their share."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        step()
        torch.cuda.synchronize()
    kernels = [e for e in profiler.key_averages() if e.self_device_time_total > 0]
    kernels.sort(key=lambda event: event.self_device_time_total, reverse=True)
    total = sum(event.self_device_time_total for event in kernels)
    return ", ".join(
        f"{event.key[:60]} {event.self_device_time_total / total:.0%}"
        for event in kernels[:num_kernels]
    )
