#!/usr/bin/env python
"""Judge classes left out of training: ``python tools/open_words.py CONFIG``."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mmengine  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.dataset import BaseDataset  # noqa: E402
from mmengine.evaluator import Evaluator  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from mmpretrain.registry import DATASETS  # noqa: E402

from capnet_mm import cli  # noqa: E402
from capnet_mm.datasets.list_files import write_image_list  # noqa: E402
from capnet_mm.evaluation import LongTailMAP  # noqa: E402
from capnet_mm.tables import Table  # noqa: E402

# How new classes are embedded: context of their prompts, and whether they join the
# label graph and so have a residual.
VARIANTS = {
    "template, alone": dict(context="words", graph=False),
    "template, in the graph": dict(context="words", graph=True),
    "mean context, alone": dict(context="mean", graph=False),
    "mean context, in the graph": dict(context="mean", graph=True),
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Train without some of the classes, then rank the validation "
        "images for these by their names"
    )
    cli.add_common_arguments(parser)
    parser.add_argument(
        "--every",
        type=int,
        default=4,
        metavar="K",
        help="leave out every K-th class of the list (default: 4)",
    )
    parser.add_argument("--out", help=".json file for the scores")
    args = parser.parse_args()
    if args.every < 2:
        parser.error(
            f"--every {args.every}: expected 2 or more, some are to be trained"
        )
    return args


def leave_out(cfg: Config, new: Sequence[str]) -> None:
    """Have a config train without some classes, and without validation.

    The images stay, with what other labels they have. Their list is written to
    ``<work_dir>/seen.json``.

    Args:
        cfg (Config): Changed in place.
        new (Sequence[str]): Names of the classes to leave out.
    """
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    meta, dropped = dataset.metainfo, set(new)
    kept = [i for i, name in enumerate(meta["classes"]) if name not in dropped]
    place = {old: index for index, old in enumerate(kept)}
    entries = [BaseDataset.get_data_info(dataset, i) for i in range(len(dataset))]
    images = [
        {
            "img_path": str(Path(entry["img_path"]).resolve()),
            **{
                key: [place[label] for label in entry[key] if label in place]
                for key in ("gt_label", "gt_unknown")
                if key in entry
            },
        }
        for entry in entries
    ]
    names = {key: [meta[key][i] for i in kept] for key in ("classes", "prompt_names")}
    path = Path(cfg.work_dir, "seen.json").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image_list(path, images, names)
    cfg.train_dataloader.dataset = dict(
        type="ImageListDataset",
        ann_file=str(path),
        allow_outside=True,  # absolute, of images that the first list let pass
        pipeline=cfg.train_dataloader.dataset.pipeline,
    )
    cfg.model.head.classes = names
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    # Nothing is validated, so that no epoch is the best.
    (cfg.get("default_hooks", {}).get("checkpoint") or {}).pop("save_best", None)


def class_precisions(model: torch.nn.Module, loader) -> dict[str, float]:
    """Evaluate a model.

    Args:
        model: In eval mode; scores the data set's classes.
        loader: Data loader of the images.

    Returns:
        Average precision of each class in percent, NaN without a positive.
    """
    metric = LongTailMAP()
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = loader.dataset.metainfo
    for batch in loader:
        with torch.no_grad():
            evaluator.process(model.val_step(batch), batch)
    evaluator.evaluate(len(loader.dataset))
    return {row["name"]: row["average_precision"] for row in metric.class_results}


def judge_new(runner: Runner, loader, new: Sequence[str]) -> dict[str, dict]:
    """Train, and score the classes left out before and after.

    Args:
        runner (Runner): The runner of :func:`leave_out`'s config.
        loader: Data loader of the validation images, with all classes.
        new (Sequence[str]): Names of the classes left out.

    Returns:
        dict[str, dict]: mAP of the ``new`` and of the ``trained`` classes (None where
        the model is not trained) by way of embedding.
    """
    model, meta = runner.model, loader.dataset.metainfo
    names = dict(classes=meta["classes"], prompt_names=meta["prompt_names"])
    trained = [name for name in meta["classes"] if name not in set(new)]

    def score(**how) -> tuple[float, float]:
        model.eval().head.set_classes(names, **how)
        precisions = class_precisions(model, loader)
        model.head.set_classes(model.head.trained_classes)
        return tuple(
            float(np.nanmean([precisions[name] for name in part]))
            for part in (new, trained)
        )

    # Adapters start at CLIP exactly.
    rows = {"zero-shot CLIP": dict(new=score(**VARIANTS["template, alone"])[0])}
    runner.train()
    for name, how in VARIANTS.items():
        rows[name] = dict(zip(("new", "trained"), score(**how), strict=True))
    return rows


def main() -> None:
    """Train on some classes and judge the others."""
    args = parse_args()
    cli.prepare_console(args.console)
    cfg = cli.read_config(args)
    for part in ("train_cfg", "val_dataloader"):
        if cfg.get(part) is None:
            raise ValueError(
                f"The config {cfg.filename} has no {part}: open_words.py trains, and "
                "ranks the images of the validation list."
            )
    if "classes" not in cfg.model.head:
        raise ValueError(
            f"{cfg.model.head.type} scores only what it was trained for; new words "
            "need a CorrelationPromptHead."
        )
    cli.complete_dataloaders(cfg, args.no_pin_memory)
    loader_config = cfg.val_dataloader
    names = DATASETS.build({**loader_config.dataset, "lazy_init": True}).metainfo
    new = names["classes"][args.every - 1 :: args.every]
    leave_out(cfg, new)
    cli.keep_freed_memory()
    runner = cli.build_runner(cfg, args.console)
    loader = Runner.build_dataloader(loader_config)
    rows = judge_new(runner, loader, new)
    if args.out:
        mmengine.dump(dict(new_classes=list(new), scores=rows), args.out)
    cells = [
        (
            name,
            f"{row['new']:.2f}",
            f"{row['trained']:.2f}" if "trained" in row else "–",
        )
        for name, row in rows.items()
    ]
    print(f"mAP in percent; left out of training: {', '.join(new)}")
    print(Table(("new classes by", "new", "trained"), cells).to_text())


if __name__ == "__main__":
    main()
