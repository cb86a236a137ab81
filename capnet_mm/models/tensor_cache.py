"""A result that is kept until something that it was computed from changes."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

# Entries of a frozen weight that are compared by value.
_SAMPLE = 64


class TensorCache:
    """Keeps one tensor, and computes it again when a tensor behind it has changed.

    PyTorch's version counters do not tell: fused optimizers and writes through
    ``.data`` leave them as they are. So trained parameters and buffers are compared
    with copies, value by value, which takes as much memory again and the time of
    reading both. Frozen parameters, many times as large, count as unchanged while
    their memory, their version and a sample of their values are; so an overwritten
    CLIP is noticed, a single changed weight of it, through ``.data``, is not.

    Where FSDP has taken the tensors apart nothing is kept: to compute is to talk to
    the other processes, and what one of them sees of its shards is no reason for all.

    Examples:
        >>> cache, weight = TensorCache(), torch.ones(2)
        >>> cache.get(lambda: 2 * weight, [weight])
        tensor([2., 2.])
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the result."""
        self._result: Tensor | None = None
        self._places: list[tuple] = []
        self._values: list[Tensor] = []

    def get(self, compute: Callable[[], Tensor], sources: Iterable[Tensor]) -> Tensor:
        """Return the kept result, or compute one and keep it.

        Args:
            compute: Computes the result.
            sources: All tensors that it depends on.

        Returns:
            What ``compute()`` returns, or has returned for the same values under the
            same autocast.
        """
        sources = list(sources)
        if any(map(is_sharded, sources)):
            return compute()
        places = [_autocast_state(sources), *map(_place, sources)]
        values = _values(sources)
        # Values have the same shapes where the places are the same.
        if places != self._places or not all(map(torch.equal, values, self._values)):
            self._result = compute()
            self._places = places
            self._values = [value.clone() for value in values]
        return self._result


def is_sharded(source: Tensor) -> bool:
    """Whether FSDP holds it, the first version or the second."""
    return getattr(source, "_fsdp_flattened", False) or hasattr(source, "to_local")


def _place(source: Tensor) -> tuple:
    """Where a tensor is; for a frozen parameter its version too."""
    place = source.device, source.dtype, source.shape
    if not _is_frozen(source):
        return place
    version = None if source.is_inference() else source._version
    return *place, source.data_ptr(), version


def _values(sources: list[Tensor]) -> list[Tensor]:
    """What is compared: whole tensors, and one with samples of the frozen ones."""
    whole = [source.detach() for source in sources if not _is_frozen(source)]
    samples = [
        source.detach().flatten()[:: max(1, source.numel() // _SAMPLE)].float()
        for source in sources
        if _is_frozen(source)
    ]
    return [*whole, torch.cat(samples)] if samples else whole


def _is_frozen(source: Tensor) -> bool:
    return isinstance(source, nn.Parameter) and not source.requires_grad


def _autocast_state(sources: list[Tensor]) -> tuple:
    device_type = sources[0].device.type if sources else "cpu"
    enabled = torch.is_autocast_enabled(device_type)
    return device_type, enabled and torch.get_autocast_dtype(device_type)
