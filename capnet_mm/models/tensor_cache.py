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
        self._seen: list[tuple] = []
        self._autocast: tuple | None = None

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
        if any(map(_is_sharded, sources)):
            return compute()
        autocast = _autocast_state(sources)
        if self._result is None or not (
            autocast == self._autocast
            and len(sources) == len(self._seen)
            and all(map(_is_unchanged, sources, self._seen))
        ):
            self._result = compute()
            self._seen = [_look_at(source) for source in sources]
            self._autocast = autocast
        return self._result


def _is_sharded(source: Tensor) -> bool:
    """Whether FSDP holds it, the first version or the second."""
    return getattr(source, "_fsdp_flattened", False) or hasattr(source, "to_local")


def _look_at(source: Tensor) -> tuple:
    """What is remembered of a tensor: place and version, and values."""
    return _place(source), _values(source).detach().clone()


def _is_unchanged(source: Tensor, seen: tuple) -> bool:
    place, values = seen
    if place != _place(source):
        return False
    return torch.equal(_values(source), values)


def _place(source: Tensor) -> tuple:
    """Where a tensor is; for a frozen parameter its version too."""
    place = source.device, source.dtype, source.shape
    if not _is_frozen(source):
        return place
    version = None if source.is_inference() else source._version
    return *place, source.data_ptr(), version


def _values(source: Tensor) -> Tensor:
    if not _is_frozen(source) or source.numel() <= _SAMPLE:
        return source
    return source.detach().flatten()[:: source.numel() // _SAMPLE]


def _is_frozen(source: Tensor) -> bool:
    return isinstance(source, nn.Parameter) and not source.requires_grad


def _autocast_state(sources: list[Tensor]) -> tuple:
    device_type = sources[0].device.type if sources else "cpu"
    enabled = torch.is_autocast_enabled(device_type)
    return device_type, enabled and torch.get_autocast_dtype(device_type)
