#!/usr/bin/env python
"""Fit logistic regressions: ``python tools/logistic_regression.py CONFIG``.

What any training has to be compared with first: scikit-learn's, one for each class, on
the image tower's own features, standardised. It is in ``pip install -e .[test]``.
"""

import argparse
import copy
import importlib.util
import json
import sys
import time
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.evaluator import Evaluator  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402

from capnet_mm import cli  # noqa: E402
from capnet_mm.datasets.wrappers import share_scores  # noqa: E402
from capnet_mm.engine.scoring import scored_batches  # noqa: E402
from capnet_mm.evaluation import LongTailMAP, ScoreFile  # noqa: E402
from capnet_mm.models import ImageFeatures  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Fit scikit-learn's logistic regression for each class on the "
        "frozen image tower's features of the training list, and test it"
    )
    cli.add_common_arguments(parser)
    parser.add_argument(
        "--strength",
        type=float,
        default=0.003,
        metavar="C",
        help="scikit-learn's C, the inverse of the ridge; default: %(default)s",
    )
    parser.add_argument("--out", metavar="FILE", help="write the scores to this .json")
    parser.add_argument(
        "--scores",
        metavar="FILE",
        help="also write scores and labels of all images to this .npz file",
    )
    return parser.parse_args()


def read_features(cfg: Config, console: str) -> tuple[list, dict]:
    """Run the frozen tower on training and test list, in the view of the test.

    Args:
        cfg: Config whose model gives ``ImageFeatures``.
        console: What the terminal shows, see :func:`capnet_mm.cli.build_runner`.

    Returns:
        Features and targets of each list, and the test set's metainfo.

    Raises:
        ValueError: The model gives other features.
    """
    test = cfg.test_dataloader
    train = copy.deepcopy(cfg.train_dataloader)
    train.dataset.pipeline = test.dataset.pipeline
    train = dict(test, dataset=train.dataset)
    runner = cli.build_runner(cfg, console)
    model = runner.model.eval()

    def of_tower(stages: tuple) -> torch.Tensor:
        if not isinstance(stages[-1], ImageFeatures):
            raise ValueError(
                f"The backbone of {cfg.filename} gives {type(stages[-1]).__name__}, "
                "not the tower's own features: use configs/baselines/linear_probe.py, "
                "or another config whose head has a visual branch."
            )
        return stages[-1].tower

    found = []
    for loader in (Runner.build_dataloader(train), runner.test_dataloader):
        dataset = loader.dataset
        share_scores(dataset)
        number = len(dataset.metainfo["classes"])
        batches = scored_batches(model, loader, of_tower, number)
        found.append([torch.cat(part).numpy() for part in zip(*batches, strict=True)])
    return found, runner.test_dataloader.dataset.metainfo


def fit_scores(
    features: np.ndarray, targets: np.ndarray, others: np.ndarray, strength: float
) -> np.ndarray:
    """Fit a regression for each class, and score other images.

    Args:
        features: (N, w), of the training images.
        targets: (N, C), 1 positive, 0 negative, -1 unknown, which is left out.
        others: (M, w).
        strength: C, the inverse of the ridge on features of unit variance.

    Returns:
        Logits, (M, C); 0 for a class without positive or without negative.
    """
    from sklearn.linear_model import LogisticRegression

    mean, std = features.mean(0), features.std(0) + 1e-6
    features, others = (features - mean) / std, (others - mean) / std
    logits = np.zeros((len(others), targets.shape[1]), np.float32)
    for index, target in enumerate(targets.T):
        known = target >= 0
        if len(np.unique(target[known])) == 2:
            regression = LogisticRegression(C=strength, max_iter=1000)
            regression.fit(features[known], target[known])
            logits[:, index] = regression.decision_function(others)
    return logits


def main() -> None:
    """Fit and test."""
    args = parse_args()
    cli.prepare_console(args.console)
    cfg = cli.read_config(args)
    cli.complete_dataloaders(cfg, args.no_pin_memory)
    (train, test), metainfo = read_features(cfg, args.console)
    start = time.monotonic()
    logits = fit_scores(*train, test[0], args.strength)
    seconds = time.monotonic() - start
    metrics = [LongTailMAP(), *([ScoreFile(args.scores)] if args.scores else [])]
    evaluator = Evaluator(metrics)
    evaluator.dataset_meta = metainfo
    for row, target in zip(torch.tensor(logits), torch.tensor(test[1]), strict=True):
        evaluator.process([DataSample(pred_logits=row).set_gt_score(target)])
    results = dict(evaluator.evaluate(len(logits)), fitting_seconds=seconds)
    for name, value in results.items():
        print(f"{name}: {value:.2f}")
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
