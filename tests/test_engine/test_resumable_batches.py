import random

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader

from capnet_mm.engine.resumable_batches import ResumableBatches, SeededBatch, seed_all


class Drawing(torch.utils.data.Dataset):
    """Tells which image it loads, and what the three generators draw for it."""

    def __init__(self):
        self.loaded = []

    def __len__(self):
        return 10

    def __getitem__(self, index):
        self.loaded.append(index)
        drawn = [random.random(), np.random.rand(), float(torch.rand(()))]
        return index, torch.tensor(drawn, dtype=torch.float64)


def load(start=0, workers=0, numbers=(7, 1, 0)):
    dataset = Drawing()
    batches = ResumableBatches(BatchSampler([3, 1, 4, 0, 5, 9, 2, 6, 8, 7], 3, False))
    batches.start, batches.numbers = start, numbers
    loader = DataLoader(dataset, batch_sampler=batches, num_workers=workers)
    return dataset, list(loader)


def assert_same(one, other):
    assert len(one) == len(other)
    for (indices, drawn), (same_indices, same_drawn) in zip(one, other, strict=True):
        assert indices.tolist() == same_indices.tolist()
        assert torch.equal(drawn, same_drawn)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_rest_of_an_epoch_has_the_images_and_numbers_of_the_whole(workers):
    random.seed(0)  # whatever was drawn before
    _, whole = load()
    seed_all(99)
    _, rest = load(start=2, workers=workers)
    assert_same(whole[2:], rest)


def test_skipped_images_are_not_loaded():
    dataset, _ = load(start=2)
    assert dataset.loaded == [2, 6, 8, 7]


def test_batches_epochs_and_processes_have_their_own_numbers():
    drawn = [load()[1], load(numbers=(7, 2, 0))[1], load(numbers=(7, 1, 1))[1]]
    values = [float(x) for each in drawn for _, batch in each for x in batch.flatten()]
    assert len(set(values)) == len(values) == 3 * 10 * 3


def test_without_numbers_batches_are_not_seeded():
    torch.manual_seed(0)
    _, one = load(numbers=None)
    _, other = load(numbers=None)
    assert not torch.equal(one[0][1], other[0][1])


def test_sending_a_batch_to_a_worker_draws_and_seeds_nothing_here():
    seed_all(5)
    before = random.getstate(), torch.get_rng_state()
    function, arguments = SeededBatch([1, 2], (3, 4)).__reduce__()
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    copy = function(*arguments)
    assert copy == [1, 2] and copy.numbers == (3, 4)
