"""Values of a config, compared with the types that the arguments are declared with."""

import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import wraps

from mmengine.registry import Registry

from .plain_text import shown


def check_registered(registries: Sequence[Registry], package: str) -> None:
    """Have the registered classes of a package refuse values of another type.

    A config may hold anything: a word where a number is expected is an error at once,
    which names the argument, and not one from deep inside, or none. Checked are
    numbers, which must be finite, texts, lists and dicts; all else is left to the
    class.

    Args:
        registries (Sequence[Registry]): What the classes are registered in.
        package (str): Name of the package; others' classes stay as they are.
    """
    for registry in registries:
        for cls in set(registry.module_dict.values()):
            is_ours = f"{cls.__module__}.".startswith(f"{package}.")
            init = vars(cls).get("__init__") if isinstance(cls, type) else None
            if is_ours and init is not None and not hasattr(init, "__wrapped__"):
                cls.__init__ = _checked(init, cls.__name__)


def _checked(init: Callable, owner: str) -> Callable:
    signature = inspect.signature(init, eval_str=True)
    kinds = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }

    @wraps(init)
    def checked(*args, **kwargs) -> None:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            given = {}  # a missing or an unknown one, which Python names below
        for name, value in given.items():
            if not _accepts(kinds.get(name), value):
                kind = kinds[name]
                named = kind.__name__ if isinstance(kind, type) else str(kind)
                raise ValueError(f"{owner}: {name}={shown(value)}: expected {named}.")
        init(*args, **kwargs)

    return checked


def _accepts(kind: object, value: object) -> bool:
    """Whether a value is of an annotated type, as far as that is a plain one."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return any(_accepts(each, value) for each in typing.get_args(kind))
    kind = typing.get_origin(kind) or kind
    if kind is types.NoneType:
        return value is None
    if kind is bool:
        return isinstance(value, bool)
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is int:
        return isinstance(value, numbers.Integral)
    if kind is float:
        return isinstance(value, numbers.Real) and math.isfinite(value)
    if kind is str:
        return isinstance(value, str | os.PathLike)
    if kind in (dict, Mapping):
        return isinstance(value, Mapping)
    if kind in (list, tuple, Sequence):
        return hasattr(value, "__len__") and not isinstance(value, str | Mapping)
    return True
