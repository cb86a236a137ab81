"""Encoding many sequences of different lengths, by one process or several."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from mmengine.dist import get_rank, get_world_size
from torch import Tensor, distributed
from torch.utils.checkpoint import checkpoint

# What one more bucket costs in itself, in tokens that could be encoded meanwhile:
# small matrix products, and on a GPU the launch of some 1,000 kernels.
_OVERHEAD_CPU, _OVERHEAD = 32, 4096

_is_alone = ContextVar("is_alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Have this process encode all sequences, whatever others do meanwhile."""
    token = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(token)


def length_buckets(
    lengths: Sequence[int],
    overhead: int,
    largest: int | None = None,
    num_processes: int = 1,
) -> list[tuple[int, int]]:
    """Split sorted sequences into buckets that are each padded to their longest.

    Of all splits between different lengths the one with the fewest tokens is
    taken, where every bucket counts ``overhead`` tokens more than it has.

    Args:
        lengths: Lengths of the sequences in ascending order.
        overhead: What a bucket costs in itself, in tokens.
        largest: Most sequences of a bucket; larger ones are split further, into
            parts of nearly equal size. None: any number.
        num_processes: How many processes share out every bucket in equal parts,
            rounded up; the tokens are those of one of them. Defaults to 1.

    Returns:
        Number of sequences and length of every bucket.
    """
    ends = [i for i in range(1, len(lengths)) if lengths[i] != lengths[i - 1]]
    ends = [0, *ends, len(lengths)]
    cost, start_of = {0: 0}, {}
    for k, end in enumerate(ends[1:], start=1):
        costs = {
            start: cost[start]
            + -(-(end - start) // num_processes) * lengths[end - 1]
            + overhead
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


class _Plan(NamedTuple):
    """What a process encodes of C sequences, and how the whole is put in order.

    Args:
        rows: Sequences that this process encodes, bucket by bucket.
        buckets: Number of sequences and length of every bucket of ``rows``.
        places: Where each sequence stands among the rows of all processes, (C,).
    """

    rows: Tensor
    buckets: list[tuple[int, int]]
    places: Tensor


class LengthBatching:
    """Encodes sequences in buckets of similar length, shared out over processes.

    Every process of a distributed run takes an equal part of every bucket, so that
    all of them encode as many tokens, and call the encoder as often, as FSDP needs.
    The features are gathered with gradients: the encoded part of a process gets the
    sum of the gradients of all. That is what one process would compute if gradients
    of parameters are averaged afterwards and losses are means over equal shares of
    the batch, as under DistributedDataParallel and FSDP.

    Args:
        chunk_size (int, optional): More sequences than this are encoded in parts of at
            most so many, and each part again in the backward pass: half as much time
            more, memory as for one part. None: all at once.
        share (bool): Whether processes share the sequences out; all of them must then
            call :meth:`encode` with the same sequences, together, unless within
            :func:`alone`. False: each encodes all. Defaults to True.

    Raises:
        ValueError: ``chunk_size`` is below 1.
    """

    def __init__(self, chunk_size: int | None = None, share: bool = True) -> None:
        if chunk_size is not None and chunk_size < 1:
            raise ValueError(
                f"chunk_size must be at least 1 or None, got {chunk_size}."
            )
        self.chunk_size = chunk_size
        self.share = share
        self._planned: tuple[Tensor, int, _Plan] | None = None

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
        shares = self.share and not _is_alone.get()
        num_processes = get_world_size() if shares else 1
        rows, buckets, places = self._plan(eos_index, num_processes)
        if num_processes == len(buckets) == 1:
            return encoder(embeddings, eos_index - start)
        sizes = [size for size, _ in buckets]
        parts = embeddings[rows].split(sizes)
        indices = (eos_index - start)[rows].split(sizes)
        if self.chunk_size is not None and len(rows) > self.chunk_size:
            encoder = _recomputed(encoder)
        features = torch.cat(
            [
                encoder(part[:, : length - start], index)
                for part, index, (_, length) in zip(
                    parts, indices, buckets, strict=True
                )
            ]
        )
        if num_processes > 1:
            features = _Gather.apply(features)
        return features[places]

    def _plan(self, eos_index: Tensor, num_processes: int) -> _Plan:
        """Sort the sequences by length, and choose those of this process."""
        # The same prompts come at every step; their lengths are read once, since
        # to read them from a GPU is to wait for it.
        known = self._planned
        if known is None or known[0] is not eos_index or known[1] != num_processes:
            lengths, order = (eos_index + 1).sort(stable=True)
            overhead = _OVERHEAD_CPU if eos_index.device.type == "cpu" else _OVERHEAD
            largest = self.chunk_size and self.chunk_size * num_processes
            buckets = length_buckets(lengths.tolist(), overhead, largest, num_processes)
            rank = get_rank() if num_processes > 1 else 0
            plan = _share_out(order, buckets, num_processes, rank)
            self._planned = known = eos_index, num_processes, plan
        return known[2]


def _share_out(
    order: Tensor, buckets: list[tuple[int, int]], num_processes: int, rank: int
) -> _Plan:
    """Give each process an equal part of every bucket.

    Where a bucket cannot be divided its last sequence is encoded several times: the
    others would wait meanwhile, and nobody is left without a sequence.
    """
    rows, places, mine = [], torch.empty_like(order), []
    size_of_all = sum(-(-size // num_processes) for size, _ in buckets)
    done = 0
    for bucket, (size, length) in zip(
        order.split([size for size, _ in buckets]), buckets, strict=True
    ):
        share = -(-size // num_processes)
        numbers = torch.arange(size, device=order.device)
        process, within = numbers // share, numbers % share
        places[bucket] = process * size_of_all + done + within
        first = torch.arange(share, device=order.device) + rank * share
        rows.append(bucket[first.clamp(max=size - 1)])
        mine.append((share, length))
        done += share
    return _Plan(torch.cat(rows), mine, places)


class _Gather(torch.autograd.Function):
    """Puts the equally many rows of all processes together, (B, d) to (P B, d).

    The gradient of a process's rows is the sum of those that all processes have.
    """

    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        gathered = rows.new_empty(get_world_size() * len(rows), *rows.shape[1:])
        distributed.all_gather(list(gathered.chunk(get_world_size())), rows)
        return gathered

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        # In float32: what is rounded to half precision is the sum, as in one process.
        # Every backend knows all_reduce; the matrix is small.
        dtype = torch.promote_types(gradient.dtype, torch.float32)
        total = torch.empty(gradient.shape, dtype=dtype, device=gradient.device)
        total.copy_(gradient)  # contiguous
        distributed.all_reduce(total)
        return total.chunk(get_world_size())[get_rank()].to(gradient.dtype)


def _recomputed(encoder: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The encoder, whose activations are computed again in the backward pass."""

    def recomputed(*inputs: Tensor) -> Tensor:
        # Nothing in the frozen tower is random.
        options = dict(use_reentrant=False, preserve_rng_state=False)
        return checkpoint(encoder, *inputs, **options)

    return recomputed
