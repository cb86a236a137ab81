"""A whole training step: images in, optimiser step out."""

import argparse

import torch
from torch import Tensor, nn

from .baselines import FullLengthTextEncoder, everything_in_autograd, restore_layers
from .cases import classifier, image_batch
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
    parser.add_argument("--batch-size", type=int, default=32, help="B; default: 32")
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile our image tower"
    )


def run(args: argparse.Namespace) -> list[Measurement]:
    """Measure a step of ours against both usual ways."""
    full_length = dict(head=dict(text_encoder=dict(type=FullLengthTextEncoder)))
    options = dict(backbone=dict(compile=args.compile))
    trained, frozen, ours = (
        TrainingStep(args, **parts) for parts in (full_length, full_length, options)
    )
    for step in (trained, frozen):
        restore_layers(step.model)

    def usual() -> list[Tensor]:
        with everything_in_autograd(trained.model):
            return trained()

    variants = {"all weights in autograd": usual, "weights frozen": frozen}
    variants["ours"] = ours
    # The first step of all starts at the same weights.
    difference = max_difference(ours(), usual())
    frozen()
    timings = interleave(variants, args.rounds, device=args.device)
    peaks = {name: peak_memory(f, args.device) for name, f in variants.items()}
    flops = {name: count_flops(f) for name, f in variants.items()}
    first = paired_ratio(timings["all weights in autograd"], timings["ours"])
    second = paired_ratio(timings["weights frozen"], timings["ours"])
    on_cuda = torch.device(args.device).type == "cuda"
    least = 2.0 if on_cuda else 1.5
    return [
        Measurement(
            what=f"training step, {args.clip}, C = {args.classes}, batch "
            f"{args.batch_size}, {'bf16' if on_cuda else 'float32'}",
            device=device_name(args.device),
            timings=timings,
            figure=f"{first.median:.2f}× ± {first.spread / 2:.2f} faster; than with "
            f"frozen weights {second.median:.2f}×",
            target=f"≥ {least}× faster",
            met=first.median >= least,
            peak_bytes=peaks,
            max_difference=difference,
            note="GFLOP: "
            + ", ".join(f"{name} {n / 1e9:.0f}" for name, n in flops.items())
            + "; the difference is that of loss and gradients of the first step",
        )
    ]


class TrainingStep:
    """Loss, gradients and an optimiser step of one model on one batch.

    On CUDA under bf16 autocast. Calling it returns the loss and the gradients.

    Args:
        args: ``clip``, ``classes``, ``batch_size``, ``device``.
        **parts: See :func:`benchmarks.cases.classifier`.
    """

    def __init__(self, args: argparse.Namespace, **parts: dict) -> None:
        self.device = torch.device(args.device)
        model: nn.Module = classifier(args.clip, args.classes, **parts)
        self.model = model.to(self.device).train()
        self.batch = image_batch(model, args.batch_size, args.classes, self.device)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(
            self.parameters, lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True
        )

    def __call__(self) -> list[Tensor]:
        """Make a step."""
        self.optimizer.zero_grad()
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"
        ):
            loss = self.model(*self.batch, mode="loss")["loss"]
        loss.backward()
        gradients = [p.grad for p in self.parameters]
        self.optimizer.step()
        return [loss.detach(), *gradients]
