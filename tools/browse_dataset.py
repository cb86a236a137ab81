#!/usr/bin/env python
"""Look at a config's training set: ``python tools/browse_dataset.py CONFIG``.

Writes three PNG files: augmented samples with their labels, training images of each
class, and which classes are seen together.
"""

import argparse
import importlib.util
import random
import sys
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mmengine.registry import init_default_scope  # noqa: E402
from mmengine.runner import set_random_seed  # noqa: E402
from mmpretrain.registry import DATASETS  # noqa: E402

from capnet_mm import cli  # noqa: E402
from capnet_mm.datasets.wrappers import unwrap_datasets  # noqa: E402
from capnet_mm.visualization import training_set  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_common_arguments(parser)
    parser.add_argument("--images", type=int, default=8, help="rows of the sheet")
    parser.add_argument("--views", type=int, default=5, help="augmentations of each")
    parser.add_argument("--seed", type=int, default=0, help="seed of images and views")
    return parser.parse_args()


def main() -> None:
    """Draw."""
    args = parse_args()
    if args.images < 1 or args.views < 1:
        raise ValueError(
            f"--images {args.images} --views {args.views}: both must be at least 1."
        )
    cli.prepare_console(args.console)
    cfg = cli.read_config(args)
    if cfg.get("train_dataloader") is None:
        raise ValueError(
            f"The config {args.config} has no training data to show (its "
            "train_dataloader is None): name one that trains, e.g. "
            "configs/demo/capnet.py."
        )
    init_default_scope(cfg.get("default_scope", "mmpretrain"))
    dataset = unwrap_datasets(DATASETS.build(cfg.train_dataloader.dataset))[0]
    if "class_counts" not in dataset.metainfo:
        raise ValueError(
            f"The training data set {type(dataset).__name__} states no class_counts in "
            "its metainfo; use ImageListDataset or one built on it."
        )
    folder = Path(cfg.work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    set_random_seed(args.seed)
    count = min(args.images, len(dataset))
    indices = sorted(random.sample(range(len(dataset)), count))
    training_set.sample_sheet(dataset, indices, args.views, folder / "samples.png")
    training_set.count_plot(dataset.metainfo, folder / "class_counts.png")
    training_set.cooccurrence_map(dataset, folder / "cooccurrence.png")
    for name in ("samples", "class_counts", "cooccurrence"):
        print(f"written: {folder / name}.png")


if __name__ == "__main__":
    main()
