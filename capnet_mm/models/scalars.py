"""Numbers that a model trains, as tensors of shape (1,): FSDP refuses scalars."""

from collections.abc import Iterable

from torch import Tensor


def scalars_to_vectors(
    state_dict: dict[str, Tensor], prefix: str, names: Iterable[str]
) -> None:
    """Have a module read checkpoints in which such numbers still are scalars.

    Call it first in ``_load_from_state_dict``.

    Args:
        state_dict: The checkpoint's tensors; changed in place.
        prefix: The module's name in it, with the dot.
        names: The module's tensors of shape (1,) that were scalars once.
    """
    for name in names:
        saved = state_dict.get(prefix + name)
        if saved is not None and saved.ndim == 0:
            state_dict[prefix + name] = saved.reshape(1)
