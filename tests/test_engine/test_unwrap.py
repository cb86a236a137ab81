"""What lies in MMEngine's wrappers."""

import torch
from mmengine.model import BaseTTAModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODEL_WRAPPERS
from torch import nn

from capnet_mm.engine.unwrap import (
    unwrap_distributed,
    unwrap_model,
    unwrap_optimizers,
)


@MODEL_WRAPPERS.register_module(force=True)
class Wrapper(nn.Module):
    """As DistributedDataParallel, but without processes."""

    def __init__(self, module):
        super().__init__()
        self.module = module
        self.test_step = getattr(module, "test_step", None)


class Ensemble(BaseTTAModel):
    """A test-time ensemble."""

    def merge_preds(self, data_samples_list):
        return data_samples_list


def test_the_model_is_found_in_an_ensemble_of_a_distributed_model(toy):
    model = toy.Model()
    ensemble = Ensemble(Wrapper(model))
    assert unwrap_model(Wrapper(ensemble)) is model
    assert unwrap_distributed(Wrapper(ensemble)) is ensemble
    assert unwrap_distributed(Wrapper(Wrapper(model))) is model
    assert unwrap_model(model) is unwrap_distributed(model) is model


def test_all_optimizers_are_found():
    first, second = (
        torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1) for _ in range(2)
    )
    wrappers = dict(a=OptimWrapper(first), b=OptimWrapper(second))
    assert unwrap_optimizers(wrappers["a"]) == [first]
    assert unwrap_optimizers(OptimWrapperDict(**wrappers)) == [first, second]
