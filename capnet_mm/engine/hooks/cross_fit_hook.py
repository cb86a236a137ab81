"""Fits the weights of several kinds of evidence on images left out of training."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger, print_log
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from mmpretrain.registry import HOOKS
from torch import Tensor, nn
from torch.utils.data import RandomSampler

from capnet_mm.datasets.wrappers import class_statistics
from capnet_mm.evaluation.calibration import training_and_test
from capnet_mm.models.towers.batching import alone

from ..scoring import scored_batches
from ..unwrap import unwrap_model

# Kept as "current" by MMEngine, one after the other.
_GLOBALS = MMLogger, MessageHub, Visualizer, DefaultScope


@HOOKS.register_module()
class CrossFitHook(Hook):
    """Fits a head's :class:`~capnet_mm.models.ScoreFusion` by cross-validation.

    Before training, the training images are split into folds, and for each fold a model
    of the same config is trained, with the same schedule, on the other folds. Its
    evidence for the images of the fold says what each kind is worth on images that
    were not trained on. So a run takes about ``folds`` times as long again: meant for
    the fast recipe, whose training takes seconds.

    Nothing is done on resuming, for a fusion that a checkpoint brings, and for a head
    without one.

    Args:
        folds (int): Number of folds, at least 2; of fewer images than that, each
            is a fold. Defaults to 5.
        passes (int): How often the left-out images are scored, each time under another
            augmentation of training; the mean counts. Defaults to 4.
        seed (int): Of the split. Defaults to 0.

    Raises:
        ValueError: There are fewer than 2 folds or 1 pass; or, before training, fewer
            than 2 images, or a data set without ``get_subset``.

    Examples:
        >>> custom_hooks = [dict(type='CrossFitHook', folds=5)]
    """

    def __init__(self, folds: int = 5, passes: int = 4, seed: int = 0) -> None:
        if folds < 2 or passes < 1:
            raise ValueError(
                f"CrossFitHook takes at least 2 folds and 1 pass, got folds={folds}, "
                f"passes={passes}."
            )
        self.folds, self.passes, self.seed = folds, passes, seed

    def before_train(self, runner) -> None:
        """Fit the fusion.

        Args:
            runner (Runner): The runner.
        """
        head = getattr(unwrap_model(runner.model), "head", None)
        fusion = getattr(head, "fusion", None)
        if not hasattr(fusion, "fit") or bool(fusion.fitted) or runner.iter > 0:
            return
        dataset = runner.train_dataloader.dataset
        self._check(dataset)
        counts, _ = class_statistics(dataset, "ScoreFusion")
        evidence, targets = self._left_out(runner, dataset)
        fusion.fit(evidence.to(fusion.weight), targets.to(fusion.weight.device), counts)
        names = ["text", *head.other_evidence]
        shares = zip(names, fusion.share.tolist(), strict=True)
        print_log(
            f"Fusion fitted on {self.folds} folds of {len(dataset)} training images: "
            + ", ".join(f"{name} {share:.2f}" for name, share in shares),
            logger="current",
        )

    def _check(self, dataset) -> None:
        if not hasattr(dataset, "get_subset"):
            raise ValueError(
                f"CrossFitHook splits the training set, and {type(dataset).__name__} "
                "has no get_subset: use a data set of MMEngine's kind, unwrapped, or "
                "take the hook out of custom_hooks."
            )
        if len(dataset) < 2:
            raise ValueError(
                f"CrossFitHook needs 2 training images at least, got {len(dataset)}."
            )

    def _left_out(self, runner, dataset) -> tuple[Tensor, Tensor]:
        """Evidence (K, N, C) of models that were not trained on it, and targets."""
        order = np.random.RandomState(self.seed).permutation(len(dataset))
        folds = min(self.folds, len(dataset))
        splits = training_and_test(np.array_split(order, folds))
        results = []
        for fold, (others, left_out) in enumerate(splits):
            others, left_out = (np.sort(each).tolist() for each in (others, left_out))
            # Every process trains all folds alike, and shares nothing out.
            with _apart(), alone():
                model = self._train(runner, dataset.get_subset(others), fold)
                results.append(self._score(runner, model, dataset.get_subset(left_out)))
        evidence, targets = zip(*results, strict=True)
        return torch.cat(evidence, 1), torch.cat(targets)

    def _train(self, runner, subset, fold: int) -> nn.Module:
        cfg = copy.deepcopy(runner.cfg)
        loader = dict(cfg.train_dataloader, dataset=subset)
        generator = torch.Generator().manual_seed(self.seed + fold)
        loader["sampler"] = RandomSampler(subset, generator=generator)
        nested = Runner(
            # As the run's own model starts, with what hooks have done to it.
            model=copy.deepcopy(unwrap_model(runner.model)),
            work_dir=str(Path(runner.work_dir) / "folds"),
            train_dataloader=loader,
            train_cfg=dict(cfg.train_cfg, val_interval=10**9),
            optim_wrapper=cfg.optim_wrapper,
            param_scheduler=cfg.get("param_scheduler"),
            default_hooks=dict(checkpoint=None, logger=None),
            custom_hooks=[dict(type="ClassCountsHook"), dict(type="EpochSeedHook")],
            default_scope=cfg.get("default_scope", "mmpretrain"),
            log_level="ERROR",
            randomness=dict(seed=self.seed + fold),
            experiment_name=f"{runner.experiment_name}_fold_{fold}",
        )
        nested.train()
        return unwrap_model(nested.model)

    def _score(self, runner, model: nn.Module, subset) -> tuple[Tensor, Tensor]:
        """Evidence (K, N, C), the mean of the passes, and targets (N, C)."""
        model.eval()
        loader = dict(runner.cfg.train_dataloader, dataset=subset, drop_last=False)
        loader["sampler"] = range(len(subset))
        loader = Runner.build_dataloader(loader)
        passes, head = [], model.head
        for _ in range(self.passes):
            batches = scored_batches(model, loader, head.evidence, head.num_classes)
            evidence, targets = zip(*batches, strict=True)
            passes.append(torch.cat(evidence, 1))
        return torch.stack(passes).mean(0), torch.cat(targets)


@contextmanager
def _apart() -> Iterator[None]:
    """Leave MMEngine's globals and the random states as they were."""
    instances = [dict(each._instance_dict) for each in _GLOBALS]
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        for each, kept in zip(_GLOBALS, instances, strict=True):
            each._instance_dict.clear()
            each._instance_dict.update(kept)
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
