"""Measuring variants of one piece of work against each other.

A machine that does other work as well slows down and speeds up by the minute.
Variants are therefore run in turns, A B A B …, and compared round by round: what
disturbs one round disturbs both of its sides.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from capnet_mm.fileio import replace_files
from capnet_mm.tables import Table


@dataclass(frozen=True)
class Timing:
    """Seconds that a variant took, one number a round.

    Args:
        seconds (tuple[float, ...]): Seconds of each round, in order.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median, in seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Distance from the lower to the upper quartile, in seconds."""
        return _quartile_distance(self.seconds)


@dataclass(frozen=True)
class Ratio:
    """How one variant's time stands to another's.

    Args:
        median (float): Median over the rounds.
        spread (float): Distance from the lower to the upper quartile.
    """

    median: float
    spread: float


@dataclass(frozen=True)
class Measurement:
    """What was measured of one piece of work; a row of the table.

    Args:
        what (str): The work, with its sizes.
        device (str): Name of the device it ran on, see :func:`device_name`.
        timings (dict[str, Timing]): Seconds of every variant.
        figure (str): The result, e.g. ``'6.3× faster'``.
        target (str): The result that was aimed at. Defaults to '': none.
        met (bool, optional): Whether the target is met. Defaults to None: no
            target, or it cannot be said here.
        peak_bytes (dict[str, int]): Peak memory of every variant.
        max_difference (float, optional): Largest absolute difference between the
            variants' results. Defaults to None: not compared.
        note (str): A remark for the reader. Defaults to ''.
    """

    what: str
    device: str
    timings: dict[str, Timing] = field(default_factory=dict)
    figure: str = ""
    target: str = ""
    met: bool | None = None
    peak_bytes: dict[str, int] = field(default_factory=dict)
    max_difference: float | None = None
    note: str = ""


def interleave(
    variants: dict[str, Callable[[], object]],
    rounds: int,
    warmup: int = 1,
    device: torch.device | str = "cpu",
) -> dict[str, Timing]:
    """Time variants in turns: A B A B ….

    Args:
        variants: Functions without arguments by name.
        rounds: Timed calls of each.
        warmup: Calls of each before, not timed. Defaults to 1.
        device: Where they work; CUDA is waited for before the clock is read.
            Defaults to the CPU.

    Returns:
        Timings by name.

    Raises:
        ValueError: For less than one round.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}.")
    for _ in range(warmup):
        for function in variants.values():
            function()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, function in variants.items():
            synchronize(device)
            start = time.perf_counter()
            result = function()
            synchronize(device)
            seconds[name].append(time.perf_counter() - start)
            del result  # freed outside the clock, and before the next variant
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def paired_ratio(numerator: Timing, denominator: Timing) -> Ratio:
    """Compare two variants that were timed together, round by round."""
    ratios = [
        a / b for a, b in zip(numerator.seconds, denominator.seconds, strict=True)
    ]
    return Ratio(statistics.median(ratios), _quartile_distance(ratios))


def peak_memory(
    function: Callable[[], object], device: torch.device | str = "cpu"
) -> int:
    """Most bytes of tensors that a call holds at once beyond those before it.

    On the CPU every allocation and release of PyTorch's allocator is taken from
    its profiler and summed, temporary ones inside an operator included: no
    estimate from the process's size, which depends on what ran before. What numpy
    and the BLAS libraries take for themselves is not seen. On CUDA it is
    ``torch.cuda.max_memory_allocated``.
    """
    device = torch.device(device)
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = function()
    del result
    events = [
        (event.start_ns(), event.nbytes())
        for event in profiler.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    held = peak = 0
    for _, num_bytes in sorted(events, key=lambda event: event[0]):
        held += num_bytes
        peak = max(peak, held)
    return peak


def count_flops(function: Callable[[], object]) -> int:
    """Floating-point operations of a call's matrix products and convolutions.

    A product and a sum count as two, as in the figures that makers of chips give.
    """
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def max_difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """Largest absolute difference of two lists of tensors."""
    return max(
        float((a.double() - b.double()).abs().max())
        for a, b in zip(ours, theirs, strict=True)
    )


def synchronize(device: torch.device | str) -> None:
    """Wait until a device has done its work."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device | str) -> str:
    """Name of a device for the table, e.g. ``'cpu, 2 threads'``."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def environment() -> dict[str, object]:
    """What the figures depend on beside the code."""
    return {
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def to_markdown(rows: Sequence[Measurement]) -> str:
    """Write rows as a Markdown table."""
    header = (
        "what",
        "device",
        "seconds: median ± half the quartile distance",
        "result",
        "target",
        "peak memory",
        "largest difference",
        "note",
    )
    return Table(header, [*map(_cells, rows)], align="l" * len(header)).to_markdown()


def write_json(path: str | Path, rows: Sequence[Measurement]) -> None:
    """Write rows and :func:`environment` to a file, whole or not at all.

    Args:
        path: The file.
        rows: Rows to write.
    """
    content = {
        "environment": environment(),
        "rows": [_json_row(row) for row in rows],
    }
    text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    replace_files({Path(path).expanduser(): text.encode()})


def _json_row(row: Measurement) -> dict:
    content = asdict(row)
    content["timings"] = {
        name: {
            "median": timing.median,
            "spread": timing.spread,
            "seconds": timing.seconds,
        }
        for name, timing in row.timings.items()
    }
    return content


def _cells(row: Measurement) -> tuple[str, ...]:
    timings = [
        f"{name} {timing.median:.3g} ± {timing.spread / 2:.1g}"
        for name, timing in row.timings.items()
    ]
    memory = [
        f"{name} {size / 2**20:,.0f} MiB" for name, size in row.peak_bytes.items()
    ]
    verdict = {None: "", True: " (met)", False: " (not met)"}[row.met]
    difference = "" if row.max_difference is None else f"{row.max_difference:.1e}"
    return (
        row.what,
        row.device,
        "\n".join(timings),
        row.figure,
        row.target + verdict,
        "\n".join(memory),
        difference,
        row.note,
    )


def _quartile_distance(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return upper - lower


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []  # Linux
    for line in lines:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
