"""Names trainable parameters that training does not reach."""

import logging
import os.path
from collections.abc import Iterable
from itertools import groupby

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmpretrain.registry import HOOKS
from torch import nn

from ..unwrap import unwrap_model, unwrap_optimizers

# Parameters of one part that are named one by one.
_MAX_NAMES = 3


@HOOKS.register_module()
class UntrainedParametersHook(Hook):
    """Warns, once, of parameters with ``requires_grad=True`` that are not trained.

    Either no optimizer has them, or they had no gradient when their optimizer took
    its first step: the loss does not depend on them, or something on the way, such as
    a reentrant checkpoint or ``no_grad``, cuts them off. Such a part stays as it was,
    and the scores may still look plausible. With several optimizers the warning comes
    when each of them has taken a step, or at the end of training. Parameters without
    elements (shards under FSDP that lie in other processes) are left out.

    Examples:
        >>> custom_hooks = [dict(type='UntrainedParametersHook')]
    """

    def before_train(self, runner) -> None:
        """Have each optimizer show its parameters at its first step."""
        self._names = {
            id(parameter): name
            for name, parameter in unwrap_model(runner.model).named_parameters()
            if parameter.requires_grad and parameter.numel()
        }
        self._without_gradient: list[str] = []
        # Until their first step. It is looked at just before, as gradients are gone
        # after the iteration.
        self._waiting = unwrap_optimizers(runner.optim_wrapper)
        self._handles = [
            optimizer.register_step_pre_hook(self._look) for optimizer in self._waiting
        ]
        known = {id(p) for optimizer in self._waiting for p in _parameters(optimizer)}
        self._without_optimizer = [
            name for key, name in self._names.items() if key not in known
        ]

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Warn when every optimizer has taken a step."""
        if self._handles and not self._waiting:
            self._finish()

    def after_train(self, runner) -> None:
        """Warn at the latest now, also if an optimizer has not taken any step."""
        if self._handles:
            self._finish()

    def _look(self, optimizer: torch.optim.Optimizer, args, kwargs) -> None:
        if optimizer not in self._waiting:
            return
        self._waiting.remove(optimizer)
        self._without_gradient += self._names_of(
            parameter for parameter in _parameters(optimizer) if parameter.grad is None
        )

    def _names_of(self, parameters: Iterable[nn.Parameter]) -> list[str]:
        """Names of those that are trainable."""
        return [self._names[id(p)] for p in parameters if id(p) in self._names]

    def _finish(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        without_step = [p for each in self._waiting for p in _parameters(each)]
        found = {
            "without gradient at the first step": self._without_gradient,
            "in an optimizer that took no step": self._names_of(without_step),
            "in no optimizer": self._without_optimizer,
        }
        texts = [
            f"{why} are {_shorten(names)}" for why, names in found.items() if names
        ]
        if texts:
            print_log(
                "Some trainable parameters (requires_grad=True) are not trained: "
                f"{'; '.join(texts)}.",
                logger="current",
                level=logging.WARNING,
            )


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _shorten(names: list[str]) -> str:
    """Name the parameters, those of a large part by what their names begin with."""
    texts = []
    for _, group in groupby(sorted(names), key=lambda name: name.split(".")[:2]):
        group = list(group)
        if len(group) <= _MAX_NAMES:
            texts += group
        else:
            start = ".".join(os.path.commonprefix([n.split(".") for n in group]))
            texts.append(f"{start}: {len(group)} parameters, e.g. {group[0]}")
    return ", ".join(texts)
