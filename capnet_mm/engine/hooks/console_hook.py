"""Tells in a few lines what a run does and how it fares."""

import shutil
from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch
from mmengine.dist import get_world_size, master_only
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import HOOKS
from rich.cells import cell_len
from torch import nn

from capnet_mm.datasets.wrappers import unwrap_datasets
from capnet_mm.evaluation import LongTailMAP, by_train_count
from capnet_mm.tables import Table

from ..unwrap import unwrap_model
from .report_hook import ReportHook

# Blocks of the class table that may stand side by side.
_MAX_BLOCKS = 3


@HOOKS.register_module()
class ConsoleHook(Hook):
    """Prints a summary of the run to standard output, for a terminal without the log.

    At the start: data, model, device, and the folder of the log. Then a line for each
    epoch (each validation, where training is by iterations): the mean loss of its
    iterations, and the scores if there was a validation. At the end: the average
    precision of each class, where a :class:`~capnet_mm.evaluation.LongTailMAP` has
    found it, and the file of :class:`ReportHook`. Only the main process prints.

    The tools of this project add the hook by themselves, unless they are told
    ``--verbose`` or ``--quiet``; in a config the hook comes beside MMEngine's log.

    Examples:
        >>> custom_hooks = [dict(type='ConsoleHook')]
    """

    # After ReportHook, which has this priority as well, must stand before it.
    priority = "LOWEST"

    def __init__(self) -> None:
        self._last_iter = 0

    def before_train(self, runner) -> None:
        """Say what is trained, on what."""
        self._last_iter = runner.iter
        loaders = {"to train": runner.train_dataloader}
        if runner.val_loop is not None:
            loaders["to validate"] = runner.val_dataloader
        _say_start(runner, "Training", loaders)

    def before_test(self, runner) -> None:
        """Say what is tested, on what."""
        _say_start(runner, "Testing", {"to test": runner.test_dataloader})

    def before_train_epoch(self, runner) -> None:
        """Say how the last epoch went, if no validation has followed it."""
        self._say_progress(runner, {})

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Say how training went since the last line, and the scores."""
        self._say_progress(runner, metrics or {})

    def after_train(self, runner) -> None:
        """Say how the classes fared in the last validation, and where the report is."""
        self._say_progress(runner, {})
        if runner.val_loop is not None:
            _say_classes(runner.val_evaluator)
        _say_report(runner)

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        """Say the scores."""
        _say("  ".join(["test", *_scores(metrics or {})]))

    def after_test(self, runner) -> None:
        """Say how the classes fared, and where the report is."""
        _say_classes(runner.test_evaluator)
        _say_report(runner)

    def _say_progress(self, runner, metrics: dict) -> None:
        num_iters = runner.iter - self._last_iter
        if not num_iters and not metrics:
            return
        self._last_iter = runner.iter
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            place = _count("epoch", runner.epoch, runner.max_epochs)
        else:
            place = _count("iteration", runner.iter, runner.max_iters)
        losses = runner.message_hub.log_scalars.get("train/loss")
        has_loss = num_iters and losses is not None
        loss = [f"loss {losses.mean(num_iters):.4g}"] if has_loss else []
        _say("  ".join([place, *loss, *_scores(metrics)]))


@master_only
def _say(text: str) -> None:
    print(text, flush=True)


def _say_start(runner, what: str, loaders: dict) -> None:
    model = unwrap_model(runner.model)
    lines = [
        f"{what} {runner.cfg.filename or runner.experiment_name}",
        *_describe_data({use: loader.dataset for use, loader in loaders.items()}),
        f"  model    {_describe_model(model)}, on {_describe_device(model)}",
        f"  log      {runner.log_dir}",
    ]
    if runner._load_from:
        lines.insert(1, f"  weights  {runner._load_from}")
    _say("\n".join(lines))


def _describe_data(datasets: dict) -> list[str]:
    """A line of names and sizes, and one of classes if they are known."""
    leaves = [leaf for each in datasets.values() for leaf in unwrap_datasets(each)]
    names = " and ".join(dict.fromkeys(type(leaf).__name__ for leaf in leaves))
    sizes = ", ".join(f"{len(each):,} {use}" for use, each in datasets.items())
    lines = [f"  data     {names}, images: {sizes}"]
    metainfo = getattr(leaves[0], "metainfo", None) or {}
    if "classes" in metainfo:
        groups = metainfo.get("groups") or {}
        named = ", ".join(f"{len(groups[name])} {name}" for name in groups)
        lines.append(
            f"  classes  {len(metainfo['classes'])}" + (f" ({named})" if named else "")
        )
    return lines


def _describe_model(model: nn.Module) -> str:
    sizes = [(each.numel(), each.requires_grad) for each in model.parameters()]
    total = sum(size for size, _ in sizes)
    trained = sum(size for size, is_trained in sizes if is_trained)
    return f"{type(model).__name__}, {trained:,} of {total:,} parameters trainable"


def _describe_device(model: nn.Module) -> str:
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    name = str(device)
    if device.type == "cuda":
        name += f" ({torch.cuda.get_device_name(device)})"
    processes = get_world_size()
    return f"{name}, {processes} processes" if processes > 1 else name


def _count(what: str, number: int, last: int) -> str:
    return f"{what} {number:>{len(str(last))}}/{last}"


def _scores(metrics: dict) -> list[str]:
    """Scores without their prefixes; without single classes, and F1 of groups."""
    named = {name.split("/", 1)[-1]: value for name, value in metrics.items()}
    return [
        f"{name.removeprefix('mAP_')} {value:.2f}"
        for name, value in named.items()
        if "/" not in name and isinstance(value, Real) and "F1_" not in name
    ]


def _say_classes(evaluator: Evaluator) -> None:
    for metric in evaluator.metrics:
        if isinstance(metric, LongTailMAP) and metric.class_results:
            _say(class_table(metric.class_results, shutil.get_terminal_size().columns))
            return


def class_table(class_results: Sequence[dict], width: int) -> str:
    """Write the classes' average precision in as few lines as the width allows.

    Args:
        class_results: ``class_results`` of a
            :class:`~capnet_mm.evaluation.LongTailMAP`.
        width: Number of characters that a line may have.

    Returns:
        A table of up to three blocks side by side, the groups from the most to the
        least frequent one, each with its mean and number of classes, and so the
        classes in it.
    """
    rows = _class_rows(class_results)
    for num_blocks in range(_MAX_BLOCKS, 0, -1):
        text = _side_by_side(rows, num_blocks).to_text()
        if max(map(cell_len, text.splitlines())) <= width:
            break
    return f"Average precision (AP) of each class; train: its training images\n{text}"


def _class_rows(class_results: Sequence[dict]) -> list[tuple[str, str, str]]:
    groups: dict[str | None, list[dict]] = {}
    for index in by_train_count([entry["train_count"] for entry in class_results]):
        entry = class_results[index]
        groups.setdefault(entry["group"], []).append(entry)
    rows = []
    for group, entries in groups.items():
        if group is not None:
            found = np.array([entry["average_precision"] for entry in entries])
            found = found[~np.isnan(found)]
            mean = f"{found.mean():.2f}" if len(found) else "nan"
            rows.append((f"{group} ({len(entries)})", "", mean))
        for entry in entries:
            count = "-" if entry["train_count"] is None else str(entry["train_count"])
            rows.append((entry["name"], count, f"{entry['average_precision']:.2f}"))
    return rows


def _side_by_side(rows: Sequence[tuple[str, str, str]], num_blocks: int) -> Table:
    height = -(-len(rows) // num_blocks)
    starts = range(0, height * num_blocks, height)
    blocks = [[*rows[start : start + height]] for start in starts]
    for block in blocks:
        block += [("", "", "")] * (height - len(block))
    # An empty column between blocks sets them apart.
    lines = [
        sum((("", *cells) for cells in line), ())[1:]
        for line in zip(*blocks, strict=True)
    ]
    header = sum([("", "class", "train", "AP")] * num_blocks, ())[1:]
    return Table(header, lines, align=("llrr" * num_blocks)[1:])


def _say_report(runner) -> None:
    for hook in runner.hooks:
        if isinstance(hook, ReportHook) and hook.report_file is not None:
            page = hook.report_file.resolve().as_uri()
            _say(f"Report, to be opened in a browser: {page}")
