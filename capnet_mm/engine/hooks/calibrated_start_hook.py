"""Starts training from a temperature and a bias that suit the CLIP."""

import logging

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmpretrain.registry import HOOKS
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from capnet_mm.models.heads import CorrelationPromptHead
from capnet_mm.models.scale_and_bias import fit_scale_and_bias, known_loss

from ..scoring import scored_batches
from ..unwrap import unwrap_model


@HOOKS.register_module()
class CalibratedStartHook(Hook):
    """Sets the head's τ and b from the cosines of some training images.

    Cosines of images and texts lie elsewhere in each CLIP, so one start does not suit
    all. Before training the model scores images that are evenly spread over the
    training list, as the pipeline of training gives them, and τ and b are those of
    maximum likelihood, see :func:`~capnet_mm.models.scale_and_bias.fit_scale_and_bias`.
    They are parameters, so checkpoints hold them; the log has a line about them.

    A run that has loaded a checkpoint keeps what the checkpoint says. So does a model
    without :class:`~capnet_mm.models.CorrelationPromptHead`, or under FSDP, whose
    weights lie in several processes.

    Args:
        num_images (int): Number of images to look at. Defaults to 512.
        scale_range (tuple[float, float]): Lowest and highest 1/τ. A lower start fits
            words that say little of the images, and training does not recover from
            it. Defaults to (20, 100).

    Raises:
        ValueError: ``num_images`` is not positive.

    Examples:
        >>> custom_hooks = [dict(type='CalibratedStartHook')]
    """

    # After ClassCountsHook (HIGH), which orders the classes.
    priority = "ABOVE_NORMAL"

    def __init__(
        self, num_images: int = 512, scale_range: tuple[float, float] = (20.0, 100.0)
    ) -> None:
        if num_images < 1:
            raise ValueError(f"num_images={num_images}: expected 1 or more.")
        self.num_images = num_images
        self.scale_range = scale_range
        self._has_loaded = False

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Note that τ and b have been trained already."""
        self._has_loaded = True

    def before_train(self, runner) -> None:
        """Fit τ and b.

        Args:
            runner (Runner): The runner.
        """
        if self._has_loaded:
            return
        model = unwrap_model(runner.model)
        head = getattr(model, "head", None)
        if not isinstance(head, CorrelationPromptHead) or _is_sharded(model):
            print_log(
                "CalibratedStartHook leaves the start as it is: it sets the bias and "
                "the temperature of a CorrelationPromptHead whose weights are whole.",
                logger="current",
                level=logging.WARNING,
            )
            return
        cosines, targets = self._look(runner, model)
        before = known_loss(head.logits_of(cosines), targets)
        fitted = fit_scale_and_bias(
            cosines, targets, head.num_trained_biases, self.scale_range
        )
        start = f"1/τ {1 / float(head.temperature):.3g}, b {_shorten(head.logit_bias)}"
        head.set_scale_and_bias(fitted.scale, fitted.bias)
        print_log(
            f"CalibratedStartHook: {start}, now 1/τ {fitted.scale:.3g}, "
            f"b {_shorten(head.logit_bias)}; binary cross entropy of {len(cosines)} "
            f"training images {before:.4f}, now {fitted.loss:.4f}.",
            logger="current",
        )

    def _look(self, runner, model: nn.Module) -> tuple[Tensor, Tensor]:
        """Cosines and targets of the images, (N, C) each, the same in all processes."""
        loader = runner.train_dataloader
        chosen = _evenly_spread(len(loader.dataset), self.num_images)
        mine = DataLoader(
            Subset(loader.dataset, chosen[get_rank() :: get_world_size()]),
            batch_size=max(1, self.num_images // 16),
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            worker_init_fn=loader.worker_init_fn,
        )
        was_training = model.training
        model.eval()
        head = model.head
        found = list(scored_batches(model, mine, head.cosines, head.num_classes))
        model.train(was_training)
        every = [pair for part in all_gather_object(found) for pair in part]
        return tuple(torch.cat(parts) for parts in zip(*every, strict=True))


def _is_sharded(model: nn.Module) -> bool:
    """Whether a wrapper lies within the model, or has taken its weights apart."""
    inside = any(is_model_wrapper(module) for module in model.modules())
    return inside or not isinstance(model.head.logit_scale, nn.Parameter)


def _evenly_spread(length: int, number: int) -> list[int]:
    """At most so many indices of a list, from its begin to its end."""
    number = min(length, number)
    return [index * length // number for index in range(number)]


def _shorten(bias: Tensor) -> str:
    """A bias, or the range of those of the classes."""
    low, high = float(bias.detach().min()), float(bias.detach().max())
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
