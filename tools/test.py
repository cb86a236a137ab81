#!/usr/bin/env python
"""Test a model: ``python tools/test.py CONFIG [CHECKPOINT]``."""

import argparse
import importlib.util
import logging
import sys
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mmengine  # noqa: E402
from mmengine.dist import is_main_process  # noqa: E402
from mmengine.evaluator import DumpResults  # noqa: E402

from capnet_mm import cli  # noqa: E402
from capnet_mm.evaluation import ScoreFile  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Test (and evaluate) a model")
    cli.add_common_arguments(parser)
    parser.add_argument(
        "checkpoint",
        nargs="?",
        help="what to test; without it the model as configured, e.g. zero-shot",
    )
    parser.add_argument("--out", help="file for scores or predictions")
    parser.add_argument(
        "--out-item",
        choices=["metrics", "pred"],
        help="what --out is to hold; predictions (.pkl) by default",
    )
    parser.add_argument(
        "--scores",
        metavar="FILE",
        help="also write scores and labels of all images to this .npz file",
    )
    parser.add_argument(
        "--amp", action="store_true", help="test with automatic mixed precision"
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="average several views of each image, as the config's tta_pipeline and "
        "tta_model say",
    )
    parser.add_argument("--show-dir", help="folder for drawn predictions")
    parser.add_argument("--show", action="store_true", help="show them in a window")
    parser.add_argument(
        "--interval", type=int, default=1, help="draw every so many images"
    )
    parser.add_argument(
        "--wait-time", type=float, default=2, help="seconds that a window stays"
    )
    args = parser.parse_intermixed_args()  # the checkpoint may come after flags
    if args.out_item is not None and args.out is None:
        parser.error("--out-item needs --out, the file to write to")
    if (
        args.out
        and args.out_item != "metrics"
        and not args.out.endswith((".pkl", ".pickle"))
    ):
        parser.error(
            f"--out {args.out}: predictions go to a .pkl file; for the scores as "
            ".json add --out-item metrics"
        )
    return args


def main() -> None:
    """Test."""
    args = parse_args()
    cli.prepare_console(args.console)
    cfg = cli.read_config(args)
    if cfg.get("test_dataloader") is None:
        raise ValueError(f"The config {args.config} has no test_dataloader.")
    cfg.resume = False
    if args.checkpoint is not None:
        cfg.load_from = args.checkpoint
    if cfg.get("load_from"):
        cfg.load_from = cli.check_checkpoint(cfg.load_from)
    if args.amp:
        cfg.test_cfg.fp16 = True
    cli.apply_visualization(
        cfg, args.show, args.show_dir, args.interval, args.wait_time
    )
    if args.tta:
        cli.apply_tta(cfg)
    cli.apply_feature_cache(cfg, args.cache_features, args.cache_views)
    cli.complete_dataloaders(cfg, args.no_pin_memory)
    cli.keep_freed_memory()
    cli.init_cpu_distributed(cfg)

    runner = cli.build_runner(cfg, args.console)
    if not cfg.get("load_from"):
        # Nothing is amiss where there is nothing to train, as in zero-shot configs.
        runner.logger.log(
            logging.INFO if cfg.get("train_cfg") is None else logging.WARNING,
            "No checkpoint given: testing the model as configured.",
        )
    if args.out and args.out_item != "metrics":
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
    if args.scores:
        runner.test_evaluator.metrics.append(ScoreFile(args.scores))
    metrics = runner.test()
    if args.out_item == "metrics" and is_main_process():
        mmengine.dump(metrics, args.out)
    cli.leave_cpu_distributed(cfg)


if __name__ == "__main__":
    main()
