import pytest
import torch
from torch import nn

from capnet_mm.models.tensor_cache import TensorCache


class Doubling:
    """Counts how often it computes."""

    def __init__(self, *sources):
        self.sources, self.calls, self.cache = sources, 0, TensorCache()

    def compute(self):
        self.calls += 1
        return sum(2 * source.detach().sum() for source in self.sources)

    def get(self):
        return self.cache.get(self.compute, self.sources)


@pytest.mark.parametrize("size", [1, 63, 64, 1000])
@pytest.mark.parametrize("kind", ["buffer", "trained", "frozen"])
def test_an_overwritten_tensor_is_noticed_and_an_untouched_one_kept(kind, size):
    source = torch.arange(float(size))
    if kind != "buffer":
        source = nn.Parameter(source, requires_grad=kind == "trained")
    doubling = Doubling(source, torch.ones(3))
    first = doubling.get()
    assert doubling.get() is first
    source.data.add_(1)
    assert doubling.get() == first + 2 * size
    assert doubling.calls == 2


def test_one_changed_value_of_a_trained_weight_is_noticed():
    weight = nn.Parameter(torch.zeros(100, 100))
    doubling = Doubling(weight)
    doubling.get()
    weight.data[57, 31] = 1e-7
    assert doubling.get() > 0


def test_a_freed_and_a_frozen_weight_are_told_apart_by_place():
    frozen = nn.Parameter(torch.zeros(1000), requires_grad=False)
    doubling = Doubling(frozen)
    doubling.get()
    frozen.data = torch.zeros(1000)  # the same values elsewhere
    doubling.get()
    assert doubling.calls == 2


def test_nan_is_never_taken_for_unchanged():
    weight = nn.Parameter(torch.full((2,), torch.nan))
    doubling = Doubling(weight)
    doubling.get(), doubling.get()
    assert doubling.calls == 2


def test_a_cleared_cache_computes_anew():
    doubling = Doubling(torch.ones(2))
    doubling.get()
    doubling.cache.clear()
    assert doubling.get() == 4
    assert doubling.calls == 2
