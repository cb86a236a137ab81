"""Encoding many sequences of different lengths."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# What one more bucket costs in itself, in tokens that could be encoded meanwhile:
# small matrix products, and on a GPU the launch of some 1,000 kernels.
_OVERHEAD_CPU, _OVERHEAD = 32, 4096


def length_buckets(
    lengths: Sequence[int], overhead: int, largest: int | None = None
) -> list[tuple[int, int]]:
    """Split sorted sequences into buckets that are each padded to their longest.

    Of all splits between different lengths the one with the fewest tokens is
    taken, where every bucket counts ``overhead`` tokens more than it has.

    Args:
        lengths: Lengths of the sequences in ascending order.
        overhead: What a bucket costs in itself, in tokens.
        largest: Most sequences of a bucket; larger ones are split further, into
            parts of nearly equal size. None: any number.

    Returns:
        Number of sequences and length of every bucket.
    """
    ends = [i for i in range(1, len(lengths)) if lengths[i] != lengths[i - 1]]
    ends = [0, *ends, len(lengths)]
    cost, start_of = {0: 0}, {}
    for k, end in enumerate(ends[1:], start=1):
        costs = {
            start: cost[start] + (end - start) * lengths[end - 1] + overhead
            for start in ends[:k]
        }
        start_of[end] = min(costs, key=costs.get)
        cost[end] = costs[start_of[end]]
    buckets, end = [], len(lengths)
    while end > 0:
        size, length = end - start_of[end], lengths[end - 1]
        parts = 1 if largest is None else -(-size // largest)
        buckets += [((size + i) // parts, length) for i in range(parts)]
        end = start_of[end]
    return buckets[::-1]


class LengthBatching:
    """Encodes sequences in buckets of similar length.

    Args:
        chunk_size (int, optional): More sequences than this are encoded in parts of at
            most so many, and each part again in the backward pass: half as much time
            more, memory as for one part. None: all at once.

    Raises:
        ValueError: ``chunk_size`` is below 1.
    """

    def __init__(self, chunk_size: int | None = None) -> None:
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(
                f"chunk_size must be at least 1 or None, got {chunk_size}."
            )
        self.chunk_size = chunk_size
        self._planned: tuple[Tensor, Tensor, list[tuple[int, int]]] | None = None

    def encode(
        self,
        encoder: Callable[[Tensor, Tensor], Tensor],
        embeddings: Tensor,
        eos_index: Tensor,
        start: int = 0,
    ) -> Tensor:
        """Encode sequences.

        Args:
            encoder: Encodes sequences, (B, L, width), whose last tokens stand at the
                indices (B,), to (B, d).
            embeddings: The sequences from token ``start`` on, (C, L, width), padded to
                the longest.
            eos_index: Where each whole sequence ends, (C,).
            start: How many tokens were taken off the front.

        Returns:
            Features, (C, d), in the order of the sequences.
        """
        order, buckets = self._plan(eos_index)
        if len(buckets) == 1:
            return encoder(embeddings, eos_index - start)
        sizes = [size for size, _ in buckets]
        parts = embeddings[order].split(sizes)
        indices = (eos_index - start)[order].split(sizes)
        if self.chunk_size is not None and len(embeddings) > self.chunk_size:
            encoder = _recomputed(encoder)
        features = [
            encoder(part[:, : length - start], index)
            for part, index, (_, length) in zip(parts, indices, buckets, strict=True)
        ]
        return torch.cat(features)[order.argsort()]

    def _plan(self, eos_index: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
        """Return the order of the sequences by length, (C,), and the buckets."""
        # The same prompts come at every step; their lengths are read once, since
        # to read them from a GPU is to wait for it.
        if self._planned is None or self._planned[0] is not eos_index:
            lengths, order = (eos_index + 1).sort(stable=True)
            overhead = _OVERHEAD_CPU if eos_index.device.type == "cpu" else _OVERHEAD
            buckets = length_buckets(lengths.tolist(), overhead, self.chunk_size)
            self._planned = eos_index, order, buckets
        return self._planned[1:]


def _recomputed(encoder: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The encoder, whose activations are computed again in the backward pass."""

    def recomputed(*inputs: Tensor) -> Tensor:
        # Nothing in the frozen tower is random.
        options = dict(use_reentrant=False, preserve_rng_state=False)
        return checkpoint(encoder, *inputs, **options)

    return recomputed
