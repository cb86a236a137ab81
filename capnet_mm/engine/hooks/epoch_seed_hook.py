"""Random numbers that depend on epoch and iteration, not on what ran before."""

import logging
import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import FUNCTIONS
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.registry import HOOKS

from ..resumable_batches import ResumableBatches, seed_all


@FUNCTIONS.register_module()
def epoch_worker_init_fn(worker_id: int) -> None:
    """Seeds Python's and numpy's random numbers in a worker of the data loader.

    PyTorch draws a new base seed for every pass through the loader and seeds torch
    with it in each worker; this hands the same seed on. MMEngine's default instead
    uses the same seed in every epoch, so that workers that start anew repeat the
    augmentations of the first epoch.

    Args:
        worker_id (int): Not used; PyTorch's seed differs between workers.
    """
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Makes resumed training end with the weights of uninterrupted training.

    Before each epoch Python, numpy and torch are seeded with a number derived from
    the run's seed, the epoch and the process, whatever was drawn before; before each
    iteration with the iteration's number as well. With
    :class:`~capnet_mm.engine.ResumableTrainLoop` each batch is loaded with a seed of
    its own, in a worker or not. A resumed run then sees the same shuffling, crops,
    flips and dropout as if it had never stopped, from any iteration on.

    MMEngine's own ``EpochBasedTrainLoop`` repeats whole epochs only, and needs, in
    ``train_dataloader``, ``persistent_workers=False``, because workers that live on
    carry their random state from epoch to epoch, and
    ``worker_init_fn=dict(type='epoch_worker_init_fn')``, if there are workers. Their
    number must stay the same.

    A run without a seed of its own takes the seed of the checkpoint it resumes.

    Examples:
        >>> custom_hooks = [dict(type='EpochSeedHook')]
        >>> train_cfg = dict(type='ResumableTrainLoop', max_epochs=10)
    """

    # The last to touch random numbers before the data loader draws its base seed.
    priority = "VERY_LOW"

    def before_train(self, runner) -> None:
        """Say what would make a resumed run differ."""
        loader = runner.train_dataloader
        # Made before the checkpoint was read, the sampler may have another seed.
        sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
        if not runner._randomness_cfg.get("diff_rank_seed") and hasattr(
            sampler, "seed"
        ):
            sampler.seed = runner.seed
        obstacles = _obstacles(runner.train_loop)
        if obstacles:
            print_log(
                "Resumed training will not repeat uninterrupted training exactly: "
                f"{'; '.join(obstacles)}. See EpochSeedHook.",
                logger="current",
                level=logging.WARNING,
            )

    def before_train_epoch(self, runner) -> None:
        """Seed this epoch, and its batches."""
        numbers = (runner.seed, runner.epoch, get_rank())
        seed_all(*numbers)
        batches = runner.train_dataloader.batch_sampler
        if isinstance(batches, ResumableBatches):
            batches.numbers = numbers

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Seed what the model draws in this iteration."""
        # One number more than a batch's: else the model would draw what its images did.
        seed_all(runner.seed, runner.epoch, get_rank(), batch_idx, 1)


def _obstacles(loop) -> list[str]:
    """What keeps a loop from repeating an epoch, or the rest of it."""
    if isinstance(loop.dataloader.batch_sampler, ResumableBatches):
        return []
    obstacles = []
    if not isinstance(loop, EpochBasedTrainLoop):
        obstacles.append("training is not epoch-based")
    if loop.dataloader.persistent_workers:
        obstacles.append("train_dataloader has persistent_workers=True")
    init_fn = loop.dataloader.worker_init_fn
    if loop.dataloader.num_workers and getattr(init_fn, "func", init_fn) is not (
        epoch_worker_init_fn
    ):
        obstacles.append(
            "train_dataloader has no worker_init_fn=dict(type='epoch_worker_init_fn')"
        )
    return obstacles
