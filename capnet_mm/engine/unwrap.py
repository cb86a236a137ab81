"""What lies inside MMEngine's wrappers of models and optimizers."""

import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn


def unwrap_distributed(model: nn.Module) -> nn.Module:
    """Take the model out of DistributedDataParallel and the like.

    Args:
        model (nn.Module): ``runner.model``.

    Returns:
        nn.Module: The model that was wrapped; a test-time ensemble stays one.
    """
    while is_model_wrapper(model):
        model = model.module
    return model


def unwrap_model(model: nn.Module) -> nn.Module:
    """Take the model out of DistributedDataParallel and test-time ensembling.

    Args:
        model (nn.Module): ``runner.model``.

    Returns:
        nn.Module: The model whose parameter names are those of checkpoints.
    """
    model = unwrap_distributed(model)
    while isinstance(model, BaseTTAModel):
        model = unwrap_distributed(model.module)
    return model


def unwrap_optimizers(
    wrapper: OptimWrapper | OptimWrapperDict,
) -> list[torch.optim.Optimizer]:
    """Take the optimizers out of their wrappers.

    Args:
        wrapper (OptimWrapper | OptimWrapperDict): ``runner.optim_wrapper``.

    Returns:
        list[Optimizer]: One optimizer, or all those of an ``OptimWrapperDict``.
    """
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return [each.optimizer for each in wrappers]
