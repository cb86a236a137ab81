"""Several processes on one machine: the text branch shared out or repeated."""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from multiprocessing.connection import Connection
from tempfile import TemporaryDirectory

import torch
from torch import distributed, multiprocessing, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import capnet_mm  # noqa: F401  (in a new process: makes torchvision importable)

from .cases import classifier, image_batch
from .measure import Measurement, Ratio, Timing, paired_ratio

TEXT, STEP, TALK = "text encoder", "step", "communication"
SHARED, REPEATED = "shared out", "repeated"
NAMES = [f"{part}, {way}" for part in (TEXT, STEP) for way in (SHARED, REPEATED)]
NAMES.append(TALK)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the sizes to measure."""
    parser.add_argument("--classes", type=int, default=80, help="C; default: 80")
    parser.add_argument(
        "--batch-size", type=int, default=8, help="B of each process; default: 8"
    )
    parser.add_argument(
        "--processes",
        type=int,
        nargs="+",
        default=[1, 2, 3],
        help="numbers of processes, the first of them 1; default: 1 2 3",
    )


def run(args: argparse.Namespace) -> list[Measurement]:
    """Measure groups of processes in turns, each process with one thread.

    Args:
        args (argparse.Namespace): Options of :func:`add_arguments`, and ``clip`` and
            ``rounds``.

    Returns:
        list[Measurement]: One row for every number of processes.

    Raises:
        ValueError: For ``--device`` other than the CPU, or if the first number of
            processes is not 1.
    """
    if torch.device(args.device).type != "cpu":
        raise ValueError("benchmark distributed starts processes on the CPU only.")
    if args.processes[0] != 1:
        raise ValueError(
            f"--processes {args.processes}: the first must be 1, of which the "
            "constants of the cost model are taken."
        )
    wall = {n: {name: [] for name in NAMES} for n in args.processes}
    work = {n: {name: [] for name in NAMES} for n in args.processes}
    with ExitStack() as stack:
        groups = {n: stack.enter_context(_group(n, args)) for n in args.processes}
        for number in range(args.rounds + 1):
            for n, name in product(groups, NAMES):
                results = groups[n](name)
                if number:  # the first round warms up
                    wall[n][name].append(max(seconds for seconds, _ in results))
                    work[n][name].append(max(worked for _, worked in results))
    wall, work = (
        {n: {x: Timing(tuple(t)) for x, t in each[n].items()} for n in each}
        for each in (wall, work)
    )
    return [_row(args, n, wall, work) for n in args.processes]


def _row(
    args: argparse.Namespace,
    processes: int,
    wall: dict[int, dict[str, Timing]],
    work: dict[int, dict[str, Timing]],
) -> Measurement:
    turns = max(1.0, processes / os.cpu_count())
    checks = {
        "on the clock": _check_model(wall, processes, turns),
        "of a processor": _check_model(work, processes, turns=1.0),
    }
    ratios = {
        unit: paired_ratio(
            each[processes][f"{TEXT}, {SHARED}"], each[1][f"{TEXT}, {SHARED}"]
        )
        for unit, each in zip(checks, (wall, work), strict=True)
    }
    mine = wall[processes]
    step = paired_ratio(mine[f"{STEP}, {SHARED}"], mine[f"{STEP}, {REPEATED}"])
    return Measurement(
        what=f"{processes} processes, {args.clip}, C = {args.classes:,}, batch "
        f"{args.batch_size} each",
        device=f"cpu, {os.cpu_count()} processors, a thread each",
        timings={
            **{f"{name}, on the clock": t for name, t in mine.items()},
            **{f"{name}, of a processor": t for name, t in work[processes].items()},
        },
        figure="text encoder "
        + ", ".join(f"{_show(ratio)} × {unit}" for unit, ratio in ratios.items())
        + f" (one process: 1); step {_show(step)} × that with the encoder's work "
        + "repeated; predicted step: "
        + ", ".join(f"{check} {unit}" for unit, check in checks.items()),
    )


def _check_model(
    seconds: dict[int, dict[str, Timing]], processes: int, turns: float
) -> str:
    """What the cost model says of a step, and what that is of what was found."""
    alone, mine = seconds[1], seconds[processes]
    text = alone[f"{TEXT}, {SHARED}"].median
    predicted = predict(
        image=alone[f"{STEP}, {SHARED}"].median - text,
        text=text,
        communication=mine[TALK].median if processes > 1 else 0.0,
        processes=processes,
        turns=turns,
    )
    found = mine[f"{STEP}, {SHARED}"].median
    return f"{predicted:.3g} s = {predicted / found:.2f} × the {found:.3g} s found"


def predict(
    image: float, text: float, communication: float, processes: int, turns: float = 1
) -> float:
    """The cost model: seconds of a step.

    Args:
        image: Seconds of all but the text encoder: the image part, which every process
            does for its own images, and the GCN, which every process repeats.
        text: Seconds of the text encoder in one process, forward and backward.
        communication: Seconds of gathering features and averaging gradients.
        processes: P.
        turns: Processes that share a processor. Defaults to 1.

    Returns:
        Seconds of a step with the text encoder's work shared out.
    """
    return turns * (image + text / processes) + communication


def _show(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} ± {ratio.spread / 2:.2f}"


@contextmanager
def _group(
    processes: int, args: argparse.Namespace
) -> Iterator[Callable[[str], list[tuple[float, float]]]]:
    """Start processes that wait; yield what has them do a piece of work together."""
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as folder:
        pipes, started = [], []
        for rank in range(processes):
            here, there = context.Pipe()
            place = f"file://{folder}/store", rank, processes
            process = context.Process(target=_work, args=(place, args, there))
            process.start()
            there.close()  # so that a process that dies is noticed
            pipes.append(here)
            started.append(process)

        def do(name: str) -> list[tuple[float, float]]:
            for pipe in pipes:
                pipe.send(name)
            return [pipe.recv() for pipe in pipes]

        try:
            yield do
        finally:
            for pipe in pipes:
                pipe.close()
            for process in started:
                process.join()


def _work(
    place: tuple[str, int, int], args: argparse.Namespace, pipe: Connection
) -> None:
    """Do what the pipe says until it is closed; answer with seconds."""
    torch.set_num_threads(1)
    store, rank, processes = place
    distributed.init_process_group(
        "gloo", init_method=store, rank=rank, world_size=processes
    )
    works = _works(args)
    try:
        while True:
            function = works[pipe.recv()]
            distributed.barrier()
            start, worked = time.perf_counter(), time.process_time()
            function()
            worked = time.process_time() - worked
            distributed.barrier()
            pipe.send((time.perf_counter() - start, worked))
    except EOFError:
        os._exit(0)  # gloo's threads can abort an interpreter that shuts down


def _works(args: argparse.Namespace) -> dict[str, Callable[[], None]]:
    model = classifier(args.clip, args.classes).train()
    wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)
    images, samples = image_batch(model, args.batch_size, args.classes, "cpu")
    gradients = [p for p in model.parameters() if p.requires_grad]
    features = torch.zeros(args.classes, model.head.text_encoder.out_dim)

    def step() -> None:
        wrapped(images, samples, mode="loss")["loss"].backward()

    def text() -> None:
        head = model.head
        F.normalize(head.prompt(head.text_encoder), dim=-1).sum().backward()

    def talk() -> None:
        for tensor in (features, *gradients):  # twice the features: there and back
            distributed.all_reduce(torch.zeros_like(tensor))

    return {
        TALK: talk,
        **{
            f"{name}, {way}": _sharing(model, function, way == SHARED)
            for name, function in ((TEXT, text), (STEP, step))
            for way in (SHARED, REPEATED)
        },
    }


def _sharing(
    model: nn.Module, function: Callable[[], None], share: bool
) -> Callable[[], None]:
    def work() -> None:
        model.head.text_encoder.batching.share = share
        model.zero_grad()
        function()

    return work
