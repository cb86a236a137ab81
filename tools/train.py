#!/usr/bin/env python
"""Train a model: ``python tools/train.py CONFIG``."""

import argparse
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from capnet_mm import cli  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a model")
    cli.add_common_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from this checkpoint, or from the latest one in the work dir",
    )
    parser.add_argument(
        "--amp", action="store_true", help="train with automatic mixed precision"
    )
    parser.add_argument(
        "--no-validate", action="store_true", help="do not evaluate while training"
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate with the actual batch size",
    )
    parser.add_argument(
        "--no-persistent-workers",
        action="store_true",
        help="start the data loaders' workers anew for each pass",
    )
    return parser.parse_args()


def main() -> None:
    """Train."""
    args = parse_args()
    cli.prepare_console(args.console)
    cfg = cli.read_config(args)
    if cfg.get("train_cfg") is None:
        raise ValueError(
            f"The config {args.config} has nothing to train (its train_cfg is None): "
            f"test it, python tools/test.py {args.config}"
        )
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        cli.apply_amp(cfg)
    if args.auto_scale_lr:
        if cfg.get("auto_scale_lr") is None:
            raise ValueError(
                "--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=…) in the "
                f"config {args.config}: the batch size that its lr is meant for."
            )
        cfg.auto_scale_lr.enable = True
    cli.apply_feature_cache(cfg, args.cache_features, args.cache_views)
    cli.complete_dataloaders(cfg, args.no_pin_memory, args.no_persistent_workers)
    cli.apply_resume(cfg, args.resume)
    cli.keep_freed_memory()
    cli.init_cpu_distributed(cfg)
    runner = cli.build_runner(cfg, args.console)
    try:
        runner.train()
    except SystemExit as stop:  # asked to, and saved
        cli.leave_cpu_distributed(cfg, stop.code)
        raise
    cli.leave_cpu_distributed(cfg)


if __name__ == "__main__":
    main()
