"""Training with thousands of class names: the head, its statistics, the sampler."""

import argparse
from types import SimpleNamespace

import torch
from mmengine.logging import MessageHub
from torch import nn

from capnet_mm.datasets import ClassAwareSampler, pareto_counts
from capnet_mm.engine import CAPNETStatisticsHook
from capnet_mm.models import CorrelationPromptHead

from .cases import class_names
from .measure import Measurement, Timing, device_name, interleave, peak_memory

STEP, STATISTICS, BOTH = "step", "statistics", "step with statistics"
EPOCH = "start of an epoch"


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
    parser.add_argument(
        "--max-count",
        type=int,
        default=1000,
        help="images of the most frequent class, for the sampler; default: 1000",
    )


def run(args: argparse.Namespace) -> list[Measurement]:
    """Measure training steps and starts of epochs for every number of classes.

    Args:
        args (argparse.Namespace): Options of :func:`add_arguments`, and ``clip``,
            ``device`` and ``rounds``.

    Returns:
        list[Measurement]: The head's rows, then the sampler's; the first of each is
        what the others are compared with.
    """
    heads: list[Measurement] = []
    samplers: list[Measurement] = []
    for num_classes in args.classes:
        heads.append(_head_row(args, num_classes, next(iter(heads), None)))
        samplers.append(_epoch_row(args, num_classes, next(iter(samplers), None)))
    return heads + samplers


class _HeadTraining:
    """Loss and gradients of the head, and what the statistics hook adds."""

    def __init__(self, args: argparse.Namespace, num_classes: int) -> None:
        torch.manual_seed(0)
        head = CorrelationPromptHead(
            classes=class_names(num_classes),
            text_encoder=dict(model=args.clip, chunk_size=args.chunk_size),
        ).to(args.device)
        head.loss_module.set_class_counts([10] * num_classes, 1000)
        self.head = head
        features = torch.randn(args.batch_size, head.text_encoder.out_dim)
        target = (torch.rand(args.batch_size, num_classes) < 0.01).float()
        self.batch = features.to(args.device), target.to(args.device)
        self.optimizer = _UnchangedWeights(
            [p for p in head.parameters() if p.requires_grad], {}
        )
        self.hook = CAPNETStatisticsHook()
        self.runner = SimpleNamespace(
            model=nn.ModuleDict({"head": head}),
            optim_wrapper=SimpleNamespace(optimizer=self.optimizer),
            message_hub=MessageHub.get_instance("many-classes"),
            iter=self.hook.interval - 1,  # the hook is due
        )
        self.hook.before_train(self.runner)

    def step(self) -> None:
        features, target = self.batch
        self.head.zero_grad()
        self.head.loss_module(self.head((features,)), target).backward()

    def statistics(self) -> None:
        self.hook.before_train_iter(self.runner, 0)
        self.optimizer.step()  # the hook reads the gradients ahead of it
        self.hook.after_train_iter(self.runner, 0)

    def step_with_statistics(self) -> None:
        self.step()
        self.statistics()


class _UnchangedWeights(torch.optim.Optimizer):
    """Takes no step, so that the hook's time is measured without one."""

    def step(self, closure=None) -> None:
        pass


def _head_row(
    args: argparse.Namespace, num_classes: int, first: Measurement | None
) -> Measurement:
    training = _HeadTraining(args, num_classes)
    peaks = {}  # measuring them warms up as well
    works = {STEP: training.step, BOTH: training.step_with_statistics}
    for name, work in works.items():
        training.head.zero_grad()  # gradients count as the work's own
        peaks[name] = peak_memory(work, args.device)
    variants = {STEP: training.step, STATISTICS: training.statistics}
    timings = interleave(variants, args.rounds, warmup=0, device=args.device)
    interval = training.hook.interval
    share = timings[STATISTICS].median / timings[STEP].median
    figure = f"statistics: {share:.2%} of a step, {share / interval:.3%} on average"
    met = None
    if first is not None:
        memory = peaks[BOTH] / first.peak_bytes[BOTH]
        per_class = _mean_step(timings, interval) / num_classes
        per_class /= _mean_step(first.timings, interval) / args.classes[0]
        figure = (
            f"{memory:.2f}× the memory and {per_class:.2f}× the time a class of "
            f"C = {args.classes[0]:,}; {figure}"
        )
        met = memory <= 3
    return Measurement(
        what=f"training the head, {args.clip}'s text tower, C = {num_classes:,}",
        device=device_name(args.device),
        timings=timings,
        figure=figure,
        target="≤ 3× the memory, time linear in C" if first else "",
        met=met,
        peak_bytes=peaks,
        note=f"loss and gradients on {args.batch_size} image features; text encoded "
        f"in parts of {args.chunk_size} and again in the backward pass; statistics: "
        f"what CAPNETStatisticsHook adds to one of {interval} iterations",
    )


def _mean_step(timings: dict[str, Timing], interval: int) -> float:
    """Seconds of an iteration, the hook's work spread over all of them."""
    return timings[STEP].median + timings[STATISTICS].median / interval


class _OneLabelEach:
    """Labels of as many images of every class as a long tail has; no pixels."""

    def __init__(self, class_counts: tuple[int, ...]) -> None:
        self.labels = [c for c, count in enumerate(class_counts) for _ in range(count)]

    def __len__(self) -> int:
        return len(self.labels)

    def get_cat_ids(self, index: int) -> list[int]:
        return [self.labels[index]]


def _epoch_row(
    args: argparse.Namespace, num_classes: int, first: Measurement | None
) -> Measurement:
    dataset = _OneLabelEach(pareto_counts(num_classes, args.max_count))
    sampler = ClassAwareSampler(dataset, seed=0)
    timings = interleave({EPOCH: lambda: iter(sampler)}, args.rounds)
    figure, met = f"{len(sampler):,} images drawn", None
    if first is not None:
        per_class = timings[EPOCH].median / num_classes
        per_class /= first.timings[EPOCH].median / args.classes[0]
        figure += f"; {per_class:.2f}× the time a class of C = {args.classes[0]:,}"
        met = per_class <= 2
    return Measurement(
        what=f"start of an epoch with ClassAwareSampler, C = {num_classes:,}",
        device=device_name("cpu"),
        timings=timings,
        figure=figure,
        target="≤ 2× the time a class" if first else "",
        met=met,
        note=f"{len(dataset):,} images, {args.max_count:,} of the most frequent class",
    )
