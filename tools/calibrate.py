#!/usr/bin/env python
"""Find thresholds for a model: ``python tools/calibrate.py CONFIG CHECKPOINT``."""

import argparse
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mmengine.config import Config  # noqa: E402
from mmengine.dist import is_main_process  # noqa: E402

from capnet_mm import cli  # noqa: E402
from capnet_mm.engine import ReportHook  # noqa: E402
from capnet_mm.evaluation import META_KEY  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Find, on the config's validation list, thresholds for each class "
        "and what makes probabilities of the scores, and store both in the checkpoint"
    )
    cli.add_common_arguments(parser)
    parser.add_argument("checkpoint", help="a trained model; the file is replaced")
    parser.add_argument(
        "--wanted",
        type=_wanted,
        default="f1",
        metavar="f1|precision=P",
        help="what thresholds are to give: the highest F1 (default), or as much recall "
        "as a precision P allows",
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="average several views of each image, as tools/test.py --tta does",
    )
    parser.add_argument("--out", help="another file to write the checkpoint to")
    return parser.parse_intermixed_args()


def _wanted(text: str) -> float | None:
    """The precision wanted; None for the highest F1."""
    name, _, number = text.partition("=")
    try:
        precision = float(number) if name == "precision" else None
    except ValueError:
        precision = -1.0
    if (text != "f1" and precision is None) or (
        precision is not None and not 0 < precision < 1
    ):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected f1, or precision=P with 0 < P < 1, as precision=0.9"
        )
    return precision


def evaluate_on_validation(cfg: Config, precision: float | None) -> None:
    """Have a test of the config run on the validation list.

    Args:
        cfg (Config): Changed in place.
        precision (float, optional): Wanted precision; None: the highest F1.

    Raises:
        ValueError: The config has no validation list.
    """
    if cfg.get("val_dataloader") is None:
        raise ValueError(
            f"The config {cfg.filename} has no val_dataloader: thresholds are found on "
            "a validation list."
        )
    cfg.test_dataloader = cfg.val_dataloader
    cfg.test_evaluator = dict(type="CalibrationFit", precision=precision)
    cfg.setdefault("test_cfg", dict())
    # No images are drawn: a report in the work dir stays that of a test.
    hooks = cfg.get("custom_hooks") or []
    reports = ("ReportHook", ReportHook)
    cfg.custom_hooks = [hook for hook in hooks if hook["type"] not in reports]


def main() -> None:
    """Calibrate."""
    args = parse_args()
    cli.prepare_console(args.console)
    cfg = cli.read_config(args)
    evaluate_on_validation(cfg, args.wanted)
    cfg.resume = False
    cfg.load_from = checkpoint = cli.check_checkpoint(args.checkpoint)
    if "://" in args.checkpoint and args.out is None:
        raise ValueError(
            f"{args.checkpoint} is no file of yours to write to: name one with --out."
        )
    if args.tta:
        cli.apply_tta(cfg)
    cli.complete_dataloaders(cfg, args.no_pin_memory)
    cli.keep_freed_memory()
    cli.init_cpu_distributed(cfg)

    runner = cli.build_runner(cfg, args.console)
    runner.test()
    if is_main_process():
        (metric,) = runner.test_evaluator.metrics
        stored = dict(metric.fitted, tta=args.tta)
        cli.add_to_meta(checkpoint, {META_KEY: stored}, args.out)
        print(f"Thresholds and calibration are stored in {args.out or checkpoint}.")
    cli.leave_cpu_distributed(cfg)


if __name__ == "__main__":
    main()
