"""Keeps frozen weights out of checkpoints."""

import zlib
from collections.abc import Callable, Iterable

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import BaseLoop
from mmpretrain.registry import HOOKS
from torch import Tensor, nn

from ..unwrap import unwrap_model

_CHECKSUMS = "frozen_weights"


@HOOKS.register_module()
class TrainableCheckpointHook(Hook):
    """Saves what was trained; leaves out the frozen weights that a model has anyway.

    A CLIP takes hundreds of megabytes, its adapters and prompts a few. The model
    loads its CLIP when it is built, so checkpoints need not repeat it. Left out of
    ``state_dict`` (and of the averaged weights of ``EMAHook``) is what is frozen:
    parameters with ``requires_grad=False`` and the buffers of modules whose
    parameters are all frozen, as long as they still are what construction made
    them. So saved are, beside everything trained:

    - buffers of modules without parameters, such as class counts in a loss;
    - frozen weights that came later than construction: from ``init_cfg`` (as in
      MMPretrain's backbones; a test run does not load it) or from ``load_from``;
    - buffers that change although their module is frozen (the statistics of a batch
      norm in training mode).

    In place of each weight that is left out its checksum is saved. On loading it is
    compared: with another CLIP than in training, the trained weights would give
    nonsense without a word. MMEngine's warning about missing keys does not name the
    frozen ones; it still names every missing trained one.

    Raises:
        ValueError: On loading, when the model's frozen weights are not those that
            the checkpoint was trained with.

    Examples:
        >>> custom_hooks = [dict(type='TrainableCheckpointHook')]
    """

    # After EMAHook (NORMAL), which exchanges averaged and current weights key by
    # key when it saves, and must find all of them.
    priority = "LOW"

    def __init__(self) -> None:
        self._as_constructed: dict[str, str] | None = None

    def before_run(self, runner) -> None:
        """Look at the model before anything has been loaded into it.

        Args:
            runner (Runner): The runner.
        """
        model = unwrap_model(runner.model)
        targets = [model]
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):  # has made its copy of the model just now
                targets.append(hook.ema_model.module)
        for target in targets:
            target.register_load_state_dict_post_hook(_allow_missing(model))
        # A test run has its train loop as a config only, and saves nothing.
        if self._as_constructed is None and isinstance(runner._train_loop, BaseLoop):
            self._as_constructed = _checksums(model, frozen_keys(model))

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Replace frozen weights by their checksums.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What will be written; changed in place.
        """
        model = unwrap_model(runner.model)
        known = self._as_constructed or {}
        left_out = {
            key: checksum
            for key, checksum in _checksums(model, frozen_keys(model)).items()
            if known.get(key) == checksum
        }
        checkpoint["meta"][_CHECKSUMS] = left_out
        for name, prefix in (("state_dict", ""), ("ema_state_dict", "module.")):
            for key in left_out:
                checkpoint.get(name, {}).pop(prefix + key, None)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare the model's frozen weights with those of training.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What was read, not yet in the model.
        """
        saved = checkpoint.get("meta", {}).get(_CHECKSUMS)
        if not saved:
            return
        model = unwrap_model(runner.model)
        found = _checksums(model, saved)
        different = [key for key in saved if not _agree(saved[key], found.get(key))]
        if different:
            named = ", ".join(different[:3]) + (", …" if len(different) > 3 else "")
            raise ValueError(
                f"The checkpoint holds only what was trained, and {len(different)} of "
                f"the {len(saved)} frozen weights that belong to it are not those of "
                f"this model ({named}). Use the CLIP (model and pretrained) that it "
                "was trained with; for a CLIP with random weights the same seed."
            )


def frozen_keys(model: nn.Module) -> set[str]:
    """Keys of ``model.state_dict()`` that training does not change.

    Args:
        model (nn.Module): A model, not wrapped.

    Returns:
        set[str]: Frozen parameters, and buffers of modules that have parameters,
        their own or their submodules', all of them frozen. A parameter known by
        several names is there by each.
    """
    keys = {
        name
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if not parameter.requires_grad
    }
    for name, module in model.named_modules(remove_duplicate=False):
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            prefix = f"{name}." if name else ""
            keys |= {
                prefix + buffer
                for buffer, _ in module.named_buffers(recurse=False)
                if buffer not in module._non_persistent_buffers_set
            }
    return keys


def _allow_missing(model: nn.Module) -> Callable:
    """A hook that takes the frozen keys of ``model`` from the missing ones."""

    def forgive(module: nn.Module, incompatible_keys) -> None:
        frozen = frozen_keys(model)
        missing = incompatible_keys.missing_keys
        # In place: MMEngine goes on with this very list. EMA's copy is known to
        # its owner as `module`.
        missing[:] = [k for k in missing if k.removeprefix("module.") not in frozen]

    return forgive


def _checksums(model: nn.Module, keys: Iterable[str]) -> dict[str, str]:
    """Data type, shape and checksum of some weights, for those that there are."""
    state = model.state_dict()
    return {key: _checksum(state[key]) for key in sorted(keys) if key in state}


def _checksum(weight: Tensor) -> str:
    data = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return f"{weight.dtype} {tuple(weight.shape)} {zlib.crc32(data):08x}"


def _agree(saved: str, found: str | None) -> bool:
    """Whether two checksums can be those of the same weight."""
    if found is None:
        return False
    if saved.split()[0] != found.split()[0]:
        return True  # of another precision: cannot be compared bit by bit
    # Numbers such as the temperature, (1,), were scalars once.
    return saved.replace(" () ", " (1,) ") == found.replace(" () ", " (1,) ")
