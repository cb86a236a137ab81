"""The metric beside scikit-learn's, and the loss with more classes."""

import argparse
import importlib.util

import numpy as np
import torch

from capnet_mm.evaluation import average_precision
from capnet_mm.models import DBFocalLoss

from .measure import Measurement, device_name, interleave, paired_ratio


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the sizes to measure."""
    parser.add_argument("--images", type=int, default=100_000, help="N")
    parser.add_argument("--classes", type=int, default=1000, help="C")
    parser.add_argument(
        "--sklearn-classes",
        type=int,
        default=100,
        help="classes that a round of scikit-learn's loop and ours goes over; the "
        "time of both grows with their number; default: 100",
    )


def run(args: argparse.Namespace) -> list[Measurement]:
    """Measure average precision and the loss."""
    return [_metric(args), _loss(args)]


def _metric(args: argparse.Namespace) -> Measurement:
    if importlib.util.find_spec("sklearn") is None:
        raise ModuleNotFoundError(
            "scikit-learn is what this is measured against: pip install scikit-learn"
        )
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    scores = rng.standard_normal((args.images, args.classes), dtype=np.float32)
    # A long tail: classes of every size from half of the images to one in 10,000.
    share = rng.permutation(np.geomspace(0.5, 1e-4, args.classes))
    targets = (rng.random(scores.shape, dtype=np.float32) < share).astype(np.int8)
    targets[0] = 1  # every class has an image
    scores += targets
    some = slice(0, args.sklearn_classes)

    def loop() -> np.ndarray:
        return np.array(
            [
                average_precision_score(target, score)
                for target, score in zip(
                    targets[:, some].T, scores[:, some].T, strict=True
                )
            ]
        )

    def ours() -> np.ndarray:
        return average_precision(scores[:, some], targets[:, some])

    variants = {"scikit-learn": loop, "ours": ours}
    timings = interleave(variants, args.rounds)
    whole = interleave(
        {"ours, all": lambda: average_precision(scores, targets)}, args.rounds, 0
    )
    ratio = paired_ratio(timings["scikit-learn"], timings["ours"])
    difference = float(np.abs(loop() - ours()).max())
    return Measurement(
        what=f"average precision, {args.images:,} images × {args.classes:,} classes",
        device=device_name("cpu"),
        timings={**timings, **whole},
        figure=f"{ratio.median:.1f}× ± {ratio.spread / 2:.1f} faster",
        target="≥ 10× faster, difference ≤ 1e-9",
        met=ratio.median >= 10 and difference <= 1e-9,
        max_difference=difference,
        note=f"both on {len(ours())} of the classes; 'ours, all' on every class",
    )


def _loss(args: argparse.Namespace) -> Measurement:
    few, many = max(1, args.classes // 10), args.classes

    def step(num_classes: int):
        torch.manual_seed(0)
        loss = DBFocalLoss()
        loss.set_class_counts([10] * num_classes, 1000)
        loss.to(args.device)
        logits = torch.randn(256, num_classes, device=args.device).requires_grad_()
        target = (torch.rand(256, num_classes, device=args.device) < 0.05).float()

        def forward_backward() -> None:
            logits.grad = None
            loss(logits, target).backward()

        return forward_backward

    variants = {f"C = {few}": step(few), f"C = {many}": step(many)}
    timings = interleave(variants, 10 * args.rounds, device=args.device)
    ratio = paired_ratio(timings[f"C = {many}"], timings[f"C = {few}"])
    return Measurement(
        what="loss forward + backward, 256 images",
        device=device_name(args.device),
        timings=timings,
        figure=f"{ratio.median:.1f} times as long for {many / few:.0f} times the "
        "classes",
        target="no Python loop over classes",
        note="tensor operations over (B, C) alone",
    )
