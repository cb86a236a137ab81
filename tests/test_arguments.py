"""Values of a config of any type: an error that names the argument, or they count."""

import inspect
import math
import traceback
from itertools import product
from pathlib import Path
from types import UnionType

import numpy as np
import pytest
from mmengine.config import ConfigDict
from mmengine.registry import Registry
from mmpretrain import registry as mmpretrain_registry

from capnet_mm.arguments import check_registered

PACKAGE = Path(inspect.getfile(check_registered)).parent
REGISTRIES = [v for v in vars(mmpretrain_registry).values() if isinstance(v, Registry)]
VALUES = [
    *(None, True, False, -1, 0, 1, 2.5, math.nan, math.inf, -math.inf, 10**30),
    *("", "x", "1e-3", "x" * 10**6, "dog\x1b[2J", [], [1], ["x"], {}, {"x": 1}, [None]),
    *((), (1, 2), b"x", 1j, object(), print),
]


def classes():
    return sorted(
        {
            cls
            for each in REGISTRIES
            for cls in each.module_dict.values()
            if f"{cls.__module__}.".startswith("capnet_mm.")
        },
        key=lambda cls: cls.__name__,
    )


def arguments(cls):
    signature = inspect.signature(cls.__init__, eval_str=True)
    return [p for p in list(signature.parameters.values())[1:] if p.kind < 4]


def plain(kind):
    """The plain types that an annotation is made of; None if there are others."""
    kinds = kind.__args__ if isinstance(kind, UnionType) else (kind,)
    known = {int: "n", float: "n", bool: "b", str: "s", type(None): "0"}
    return {known[k] for k in kinds} if all(k in known for k in kinds) else None


def wrong_values(kind):
    """Of another type, by the annotation alone."""
    letters = plain(kind)
    if letters is None:
        return []
    of = {bool: "b", int: "n", float: "n", str: "s", type(None): "0"}
    wrong = [v for v in VALUES if of.get(type(v), "?") not in letters]
    if "n" in letters:
        wrong += [math.nan, math.inf]
    return wrong


CASES = [
    (cls, parameter.name)
    for cls in classes()
    if hasattr(cls.__init__, "__wrapped__")  # not one of MMPretrain's
    for parameter in arguments(cls)
    if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
]


def test_values_of_another_type_are_refused_by_name():
    """Every argument of every registered class that is a number, a text or a flag."""
    number = 0
    for cls, name in CASES:
        kind = inspect.signature(cls.__init__, eval_str=True).parameters[name]
        required = {
            p.name: object()
            for p in arguments(cls)
            if p.default is p.empty and p.kind == p.POSITIONAL_OR_KEYWORD
        }
        required = {key: None for key in required if key != name}
        for value in wrong_values(kind.annotation):
            with pytest.raises(ValueError) as caught:
                cls(**{**required, name: value})
            message = str(caught.value)
            first = next(iter(required), name)
            assert f": {name}=" in message or f": {first}=" in message, (cls, name)
            assert message.isprintable() and len(message) < 1000
            number += 1
    assert number > 2000


# One needs a data set on disk, an optimizer, a registered model: others test those.
BUILT_ALONE = [
    (cls, name)
    for cls, name in CASES
    if not any(
        p.default is p.empty and p.kind == p.POSITIONAL_OR_KEYWORD
        for p in arguments(cls)
    )
]


@pytest.mark.parametrize("cls", sorted({c for c, _ in BUILT_ALONE}, key=str), ids=str)
def test_no_value_of_a_config_gives_an_error_from_deep_inside(
    cls, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # where "x" is a folder that a class may make
    for name, value in product((n for c, n in BUILT_ALONE if c is cls), VALUES):
        if "ShapesLT" in cls.__name__ and name != "data_root":
            continue  # draws its images
        if "ShapesLT" in cls.__name__ and isinstance(value, str):
            continue
        try:
            cls(**{name: value})
        except (ValueError, FileNotFoundError) as error:
            last = traceback.extract_tb(error.__traceback__)[-1].filename
            assert Path(last).is_relative_to(PACKAGE), (name, value)
            assert type(error) in (ValueError, FileNotFoundError)


def test_what_a_config_may_hold_passes():
    registry = Registry("anything")

    @registry.register_module()
    class Any:
        def __init__(
            self,
            number: float = 1,
            whole: int | None = None,
            flag: bool = False,
            path: str = "",
            several: "list[str] | tuple" = (),
            more: dict | None = None,
            other: object = None,
            untyped=None,
            **rest: int,
        ) -> None:
            self.number = number

    check_registered([registry], package=__name__)
    check_registered([registry], package=__name__)  # once is enough
    assert Any.__init__.__wrapped__ and not hasattr(
        Any.__init__.__wrapped__, "__wrapped__"
    )
    right = [
        *(dict(number=each) for each in (1, 0.5, np.float32(2), np.int64(3))),
        *(dict(whole=each) for each in (None, -1, np.int64(3))),
        *(dict(flag=each) for each in (True, False)),
        *(dict(path=each) for each in ("a", Path("a"))),
        *(dict(several=each) for each in ([], ("a",), np.zeros(2))),
        *(dict(more=each) for each in (None, {}, ConfigDict(a=1))),
        *(dict(other=each, untyped=each, rest=each) for each in VALUES),
    ]
    for options in right:
        assert registry.build(dict(type="Any", **options)).number is not None
    for options in (
        dict(whole=2.0),
        dict(number="1"),
        dict(several="a"),
        dict(more=[]),
    ):
        (name,) = options
        with pytest.raises(ValueError, match=f"Any: {name}=.*: expected"):
            Any(**options)
    with pytest.raises(TypeError, match="multiple values"):
        Any(1, number=2)


def test_classes_of_others_stay_as_they_are():
    from mmpretrain.registry import MODELS

    init = MODELS.get("ImageClassifier").__init__
    assert not hasattr(init, "__wrapped__")
