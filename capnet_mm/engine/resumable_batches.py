"""Batches that can be taken up in the middle of an epoch."""

import random
from collections.abc import Iterator

import numpy as np
import torch


def seed_all(*numbers: int) -> None:
    """Seed Python, numpy and torch with what several numbers make together.

    Args:
        *numbers (int): Not negative; such as the run's seed, epoch and process.
    """
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])  # 32 bits
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # all devices


class SeededBatch(list):
    """Indices of a batch; whoever walks through them has the batch's random numbers.

    PyTorch loads a batch as ``[dataset[index] for index in batch]``, in a worker or
    not. The seed thus goes where the images are loaded, and what is drawn for them
    depends neither on the batches before them nor on the number of workers.

    Args:
        indices (list[int]): Indices of the images.
        numbers (tuple[int, ...]): Arguments of :func:`seed_all`.
    """

    def __init__(self, indices: list[int], numbers: tuple[int, ...]) -> None:
        super().__init__(indices)
        self.numbers = numbers

    def __iter__(self) -> Iterator[int]:
        """Seed, then iterate over the indices."""
        seed_all(*self.numbers)
        return super().__iter__()

    def __reduce__(self) -> tuple:
        """Send to a worker; pickle would walk through the indices, and seed here."""
        return type(self), (self[:], self.numbers)


class ResumableBatches:
    """A batch sampler that skips batches without loading them, and seeds the others.

    Args:
        batch_sampler (BatchSampler): Gives the batches of an epoch.
    """

    def __init__(self, batch_sampler) -> None:
        self.batch_sampler = batch_sampler
        self.start = 0  # batches of the next pass to be skipped
        self.numbers: tuple[int, ...] | None = None  # of this epoch; None: no seeds

    @property
    def sampler(self):
        """The sampler of images."""
        return self.batch_sampler.sampler

    @property
    def batch_size(self) -> int:
        """Images in a batch."""
        return self.batch_sampler.batch_size

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list[int]]:
        """Iterate over the batches from ``start`` on."""
        start, numbers = self.start, self.numbers
        for index, batch in enumerate(self.batch_sampler):
            if index >= start:
                yield (
                    batch if numbers is None else SeededBatch(batch, (*numbers, index))
                )
