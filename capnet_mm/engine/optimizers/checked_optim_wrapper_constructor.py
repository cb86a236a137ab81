"""MMEngine's way to build an optimizer, with a look at what the config asks for."""

import difflib
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from mmengine.logging import MMLogger, print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class CheckedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor; every entry of ``custom_keys`` must have an effect.

    MMEngine gives a parameter the settings of the longest key that is part of its
    name, and passes over a key that is part of none: a misspelt one leaves its
    parameters at the common rate without a word. Here such an entry is an error. A
    shared schedule may mark an entry ``optional=True``, for a part of the model that
    a config may switch off. The log states how many parameters each entry has, and,
    once instead of a warning for each, how many parameters are frozen.

    Args:
        optim_wrapper_cfg (dict): Config of the optimizer and its wrapper, as for
            MMEngine's ``DefaultOptimWrapperConstructor``.
        paramwise_cfg (dict, optional): Settings of single parameters, as for MMEngine's
            constructor; entries of ``custom_keys`` may say ``optional``. Defaults to
            None.

    Raises:
        ValueError: When the optimizer is built: an entry that is not optional names
            no trained parameter, or longer keys take all those that it names; or it
            sets what the optimizer does not have.

    Examples:
        >>> optim_wrapper = dict(
        ...     constructor='CheckedOptimWrapperConstructor',
        ...     optimizer=dict(type='AdamW', lr=1e-3),
        ...     paramwise_cfg=dict(custom_keys={
        ...         'head.gcn': dict(lr_mult=3., optional=True)}))
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        entries = self.paramwise_cfg.get("custom_keys", {})
        self.optional_keys = {
            k for k, entry in entries.items() if entry.get("optional")
        }
        if entries:
            # MMEngine would hand `optional` to the optimizer.
            entries = {
                key: _without(entry, "optional") for key, entry in entries.items()
            }
            self.paramwise_cfg = {**self.paramwise_cfg, "custom_keys": entries}

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Check the entries and build the optimizer.

        Args:
            model: The model, maybe in DistributedDataParallel.

        Returns:
            The optimizer in its wrapper.
        """
        parameters = dict(getattr(model, "module", model).named_parameters())
        trained = [name for name, p in parameters.items() if p.requires_grad]
        frozen = [name for name, p in parameters.items() if not p.requires_grad]
        values = sum(parameters[name].numel() for name in trained)
        print_log(
            f"{len(trained)} parameters are trained ({values:,} values), "
            f"{len(frozen)} are frozen.",
            logger="current",
        )
        self._check_custom_keys(trained, frozen)
        with _without_warnings_of_frozen_parameters():
            wrapper = super().__call__(model)
        self._check_settings(wrapper.optimizer)
        return wrapper

    def _check_settings(self, optimizer: torch.optim.Optimizer) -> None:
        # PyTorch takes any setting of a group, and reads those that it knows.
        known = {"lr_mult", "decay_mult", *optimizer.defaults}
        for key, entry in self.paramwise_cfg.get("custom_keys", {}).items():
            if unknown := sorted(entry.keys() - known):
                raise ValueError(
                    f"custom_keys of optim_wrapper.paramwise_cfg: {key!r} sets "
                    f"{', '.join(unknown)}, which {type(optimizer).__name__} does not "
                    f"have. It may set {', '.join(sorted(known))}."
                )

    def _check_custom_keys(self, trained: list[str], frozen: list[str]) -> None:
        keys = self.paramwise_cfg.get("custom_keys", {})
        if not keys:
            return
        taken_by = {name: _key_of(name, keys) for name in trained}
        counts = {key: list(taken_by.values()).count(key) for key in keys}
        for key, count in counts.items():
            if not count and key not in self.optional_keys:
                raise ValueError(
                    f"custom_keys of optim_wrapper.paramwise_cfg: {key!r} has no "
                    f"effect: {_why_without_effect(key, taken_by, frozen)} Correct or "
                    "remove the entry, or mark it with optional=True."
                )
        entries = [
            f"{key!r}: {count}" if count else f"{key!r}: none (optional)"
            for key, count in counts.items()
        ]
        print_log(f"Parameters of custom_keys: {', '.join(entries)}.", logger="current")


def _without(entry: dict, field: str) -> dict:
    return {name: value for name, value in entry.items() if name != field}


def _key_of(name: str, keys: Iterable[str]) -> str | None:
    """The key whose settings MMEngine gives a parameter."""
    name = name if "." in name else f".{name}"  # MMEngine's name for the model's own
    matching = [key for key in sorted(keys) if key in name]
    return max(matching, key=len, default=None)  # of equal length the first


def _why_without_effect(
    key: str, taken_by: dict[str, str | None], frozen: list[str]
) -> str:
    """Say why no trained parameter has a key's settings."""
    if takers := sorted({taker for n, taker in taken_by.items() if key in n}):
        longer = ", ".join(map(repr, takers))
        return f"longer keys take every trained parameter that it names: {longer}."
    if names := [name for name in frozen if key in name]:
        return f"it names frozen parameters only ({len(names)}, e.g. {names[0]})."
    close = difflib.get_close_matches(key, _parts_as_long_as(key, taken_by), n=3)
    return (
        "no parameter has it in its name. Close parts of the names of trained "
        f"parameters: {', '.join(close) or 'none'}."
    )


def _parts_as_long_as(key: str, names: Iterable[str]) -> list[str]:
    """Parts of names with as many words between dots as a key has."""
    length = len(key.strip(".").split("."))
    words = [name.split(".") for name in names]
    return sorted(
        {
            ".".join(each[start : start + length])
            for each in words
            for start in range(len(each) - length + 1)
        }
    )


@contextmanager
def _without_warnings_of_frozen_parameters() -> Iterator[None]:
    def keep(record: logging.LogRecord) -> bool:
        return not record.getMessage().endswith(
            "is skipped since its requires_grad=False"
        )

    logger = MMLogger.get_current_instance()
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
