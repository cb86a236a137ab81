import itertools

import pytest
import torch

from capnet_mm.models.towers import batching
from capnet_mm.models.towers.batching import LengthBatching, length_buckets


def cost(buckets, overhead):
    return sum(size * length + overhead for size, length in buckets)


def every_split(lengths):
    """All ways to cut a sorted list, with each part's size and longest."""
    places = range(1, len(lengths))
    for number in range(len(lengths)):
        for cuts in itertools.combinations(places, number):
            ends = [0, *cuts, len(lengths)]
            yield [
                (end - start, lengths[end - 1])
                for start, end in itertools.pairwise(ends)
            ]


@pytest.mark.parametrize("overhead", [0, 3, 20, 1000])
@pytest.mark.parametrize("lengths", [[4], [4, 4, 9], [3, 4, 5, 5, 8, 8, 8, 20]])
def test_no_split_into_buckets_costs_less(lengths, overhead):
    found = length_buckets(lengths, overhead)
    assert sum(size for size, _ in found) == len(lengths)
    best = min(cost(split, overhead) for split in every_split(lengths))
    assert cost(found, overhead) == best


def test_large_buckets_are_cut_into_nearly_equal_parts():
    assert length_buckets([7] * 10, 0, largest=4) == [(4, 7), (3, 7), (3, 7)]


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 100])
@pytest.mark.parametrize("start", [0, 2])
def test_results_come_in_the_order_of_the_sequences(monkeypatch, chunk_size, start):
    monkeypatch.setattr(batching, "_OVERHEAD_CPU", 0)
    eos_index = torch.tensor([9, 3, 5, 3, 9, 4])
    tokens = torch.randn(6, 10, 2, requires_grad=True)
    seen = []

    def encode(part, index):  # what stands at the end of each sequence
        seen.append(tuple(part.shape[:2]))
        return 2 * part[torch.arange(len(part)), index]

    batches = LengthBatching(chunk_size)
    found = batches.encode(encode, tokens[:, start:], eos_index, start)
    torch.testing.assert_close(found, 2 * tokens[torch.arange(6), eos_index])
    assert max(length for _, length in seen) <= 10 - start
    if chunk_size in (1, 2):
        assert max(size for size, _ in seen) <= chunk_size
        calls = len(seen)
        found.sum().backward()
        assert len(seen) == 2 * calls  # each part again
    assert len({length for _, length in seen}) > 1


def test_lengths_are_read_once_for_the_same_prompts():
    batches, eos_index = LengthBatching(), torch.tensor([2, 3])
    first = batches._plan(eos_index)
    assert batches._plan(eos_index)[1] is first[1]
    assert batches._plan(eos_index.clone())[1] is not first[1]


def test_chunk_size_below_one_is_refused():
    with pytest.raises(ValueError, match="chunk_size"):
        LengthBatching(0)
