"""Training in bfloat16 on any device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmpretrain.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Computes losses under autocast to bfloat16; weights and gradients stay float32.

    MMEngine's ``AmpOptimWrapper`` refuses to work without an accelerator, and scales
    losses, which bfloat16 has no need of: its range is that of float32.

    Args:
        **kwargs: Those of :class:`mmengine.optim.OptimWrapper`.

    Examples:
        >>> optim_wrapper = dict(type='BFloat16OptimWrapper')
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute in bfloat16, and wait with other processes while accumulating."""
        device = torch.device(get_device()).type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
