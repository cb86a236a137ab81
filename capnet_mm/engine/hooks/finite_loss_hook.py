"""Stops training when the loss is no number any more."""

import math

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..unwrap import unwrap_model


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops training at a loss that is NaN or infinite, and keeps the last checkpoint.

    When the loss is known the weights have already been updated with its gradient,
    so they are spoiled; the hook comes before :class:`CheckpointHook`, which thus
    neither writes them nor deletes an older checkpoint to make room. With several
    processes all stop if one has such a loss, because their gradients are averaged.
    After each epoch the hook checks the trained weights too, as a finite loss can have
    an infinite gradient.

    Raises:
        FloatingPointError: A loss or a weight is not finite; the message names epoch,
            iteration, losses and the checkpoint kept.

    Examples:
        >>> custom_hooks = [dict(type='FiniteLossHook')]
    """

    # Ahead of EMAHook (NORMAL), LoggerHook and CheckpointHook (VERY_LOW).
    priority = "VERY_HIGH"

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Check the losses of this iteration."""
        losses = {
            name: torch.as_tensor(value).detach().item()
            for name, value in (outputs or {}).items()
            if "loss" in name
        }
        finite = all(math.isfinite(value) for value in losses.values())
        if not _finite_everywhere(finite, runner):
            values = ", ".join(f"{name} = {value}" for name, value in losses.items())
            note = " here, but not so in another process" if finite else ""
            raise FloatingPointError(
                f"The loss is not finite in epoch {runner.epoch + 1}, iteration "
                f"{batch_idx + 1} ({runner.iter + 1} of the run): "
                f"{values}{note}. {_advice(runner)}"
            )

    def after_train_epoch(self, runner) -> None:
        """Check the weights, which are saved next."""
        spoiled = [
            name
            for name, parameter in unwrap_model(runner.model).named_parameters()
            if parameter.requires_grad and not torch.isfinite(parameter).all()
        ]
        if spoiled:
            raise FloatingPointError(
                f"After epoch {runner.epoch + 1} (iteration {runner.iter} of the run) "
                f"these weights are not finite: {', '.join(spoiled[:5])}"
                f"{', …' if len(spoiled) > 5 else ''}. {_advice(runner)}"
            )


def _finite_everywhere(finite: bool, runner) -> bool:
    """Whether ``finite`` holds in all processes."""
    if get_world_size() == 1:
        return finite
    device = next(runner.model.parameters()).device
    flag = torch.tensor(float(not finite), device=device)
    all_reduce(flag, op="max")
    return flag.item() == 0


def _advice(runner) -> str:
    last = runner.message_hub.runtime_info.get("last_ckpt")
    kept = f"The last checkpoint is kept: {last}." if last else "None was saved yet."
    return (
        f"Training stops. {kept} A lower learning rate or gradient clipping "
        "(optim_wrapper.clip_grad=dict(max_norm=1.0)) may help."
    )
