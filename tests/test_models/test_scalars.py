import pytest
import torch

from capnet_mm.models import ResidualGCN
from capnet_mm.models.scalars import scalars_to_vectors


def test_named_scalars_become_vectors_and_all_else_stays():
    weight, bias = torch.tensor(3.0), torch.tensor(4.0)
    state = {"a.scale": weight, "a.bias": bias, "a.shape": torch.ones(1)}
    scalars_to_vectors(state, "a.", ("scale", "shape", "missing"))
    assert state["a.scale"].shape == (1,) and state["a.scale"].item() == 3
    assert state["a.bias"] is bias and state["a.shape"].shape == (1,)
    assert set(state) == {"a.scale", "a.bias", "a.shape"}


@pytest.mark.parametrize("learnable", [False, True])
def test_a_checkpoint_from_when_gamma_was_a_scalar_loads(learnable):
    gcn = ResidualGCN(4, gamma=0.5, learnable_gamma=learnable)
    state = {**gcn.state_dict(), "gamma": torch.tensor(0.25)}
    gcn.load_state_dict(state)
    assert gcn.gamma.tolist() == [0.25]
