import itertools
import math

import pytest
import torch

from capnet_mm.models.towers import batching
from capnet_mm.models.towers.batching import (
    LengthBatching,
    _share_out,
    length_buckets,
)


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


@pytest.mark.parametrize("overhead", [0, 3, 20])
@pytest.mark.parametrize("num_processes", [2, 3, 8])
def test_no_split_gives_each_process_less_to_do(overhead, num_processes):
    def of_one(buckets):
        return [(math.ceil(size / num_processes), length) for size, length in buckets]

    lengths = [3, 4, 5, 5, 8, 8, 8, 8, 20]
    found = length_buckets(lengths, overhead, num_processes=num_processes)
    # Cuts between different lengths only, as for one process.
    ends = {i for i in range(1, 10) if i == 9 or lengths[i] != lengths[i - 1]}
    splits = [
        split
        for split in every_split(lengths)
        if ends.issuperset(itertools.accumulate(size for size, _ in split))
    ]
    best = min(cost(of_one(split), overhead) for split in splits)
    assert cost(of_one(found), overhead) == best


@pytest.mark.parametrize("num_sequences", [1, 2, 7, 12])
@pytest.mark.parametrize("num_processes", [2, 3, 5])
def test_shares_are_equal_and_together_make_the_whole(num_sequences, num_processes):
    lengths = torch.arange(num_sequences) % 4 + 3
    order = lengths.argsort(stable=True)
    buckets = length_buckets(lengths[order].tolist(), 1, num_processes=num_processes)
    plans = [
        _share_out(order, buckets, num_processes, rank) for rank in range(num_processes)
    ]
    assert len({tuple(plan.buckets) for plan in plans}) == 1  # tokens and calls
    for plan in plans:
        ends = [length for size, length in plan.buckets for _ in range(size)]
        assert all(lengths[plan.rows] <= torch.tensor(ends))
    gathered = torch.cat([plan.rows for plan in plans])
    assert gathered[plans[0].places].tolist() == list(range(num_sequences))


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
    first = batches._plan(eos_index, 1)
    assert batches._plan(eos_index, 1) is first
    assert batches._plan(eos_index.clone(), 1) is not first
    assert batches._plan(eos_index, 2) is not first


def test_chunk_size_below_one_is_refused():
    with pytest.raises(ValueError, match="chunk_size"):
        LengthBatching(0)
