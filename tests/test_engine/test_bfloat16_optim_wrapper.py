import torch
from mmpretrain.registry import OPTIM_WRAPPERS
from torch import nn


def test_losses_are_computed_in_bfloat16_and_weights_stay_float32():
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = OPTIM_WRAPPERS.build(
        dict(type="BFloat16OptimWrapper", optimizer=optimizer)
    )
    before = model.weight.detach().clone()
    inputs = torch.ones(2, 4)
    with wrapper.optim_context(model):
        outputs = model(inputs)
        assert outputs.dtype == torch.bfloat16
    wrapper.update_params(outputs.float().sum())
    assert model(inputs).dtype == model.weight.dtype == torch.float32
    torch.testing.assert_close(model.weight, before - 0.1 * 2)
