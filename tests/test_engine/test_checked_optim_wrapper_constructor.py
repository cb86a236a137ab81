import copy
import logging

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.tower.requires_grad_(False)
        self.head = nn.ModuleDict(dict(gcn=nn.Linear(2, 2), prompt=nn.Linear(2, 1)))
        self.tau = nn.Parameter(torch.ones(()))


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


@pytest.fixture
def log():
    """Level and text of what is logged."""
    records = []

    class Keep(logging.Handler):
        def emit(self, record):
            records.append((record.levelname, record.getMessage()))

    logger = MMLogger.get_current_instance()
    handler = Keep(logging.INFO)
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def build(model=None, constructor="CheckedOptimWrapperConstructor", **paramwise):
    cfg = ConfigDict(
        constructor=constructor,
        optimizer=dict(type="SGD", lr=0.5, weight_decay=0.25),
        paramwise_cfg=paramwise or None,
    )
    before = copy.deepcopy(cfg)
    wrapper = build_optim_wrapper(model or Model(), cfg)
    assert cfg == before
    return wrapper.optimizer


def settings(optimizer):
    """Every group, its parameters by their shapes."""
    return [
        {**group, "params": [tuple(p.shape) for p in group["params"]]}
        for group in optimizer.param_groups
    ]


@pytest.mark.parametrize(
    "paramwise",
    [
        dict(),
        dict(bias_lr_mult=2.0),
        dict(
            norm_decay_mult=0.0,
            custom_keys={"head": dict(lr_mult=3.0), "gcn.weight": dict(decay_mult=0.5)},
        ),
        dict(custom_keys={".tau": dict(lr_mult=7.0)}),
    ],
)
def test_groups_are_those_of_mmengines_constructor(paramwise):
    expected = build(constructor="DefaultOptimWrapperConstructor", **paramwise)
    assert settings(build(**paramwise)) == settings(expected)


def test_optional_is_not_handed_to_the_optimizer():
    keys = {"head": dict(lr_mult=3.0, optional=True), "nothing": dict(optional=True)}
    plain = build(custom_keys={"head": dict(lr_mult=3.0)})
    assert settings(build(custom_keys=keys)) == settings(plain)


@pytest.mark.parametrize(
    ("keys", "key", "why"),
    [
        (["head.gnc"], "head.gnc", "Close parts .* parameters: head.gcn"),
        (["promt"], "promt", "Close parts .* parameters: prompt"),
        (["zzzzzz"], "zzzzzz", "Close parts .* parameters: none"),
        (
            ["head", "tower"],
            "tower",
            r"frozen parameters only \(4, e.g. tower.0.weight",
        ),
        (["gcn", "head.gcn"], "gcn", "longer keys .*: 'head.gcn'"),
        # one key for each of its parameters
        (["gcn", "gcn.weight", "gcn.bias"], "gcn", "'gcn.bias', 'gcn.weight'"),
    ],
)
def test_an_entry_without_effect_is_an_error_that_says_why(keys, key, why):
    entries = {each: dict(lr_mult=2.0) for each in keys}
    with pytest.raises(ValueError, match=f"'{key}' has no effect: .*{why}"):
        build(custom_keys=entries)


def test_an_entry_that_longer_keys_leave_one_parameter_has_an_effect():
    optimizer = build(custom_keys={"gcn": dict(lr_mult=2), "gcn.bias": dict(lr_mult=4)})
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == [0.5, 1.0, 2.0, 0.5, 0.5]


def test_one_line_states_every_entry_and_how_many_parameters_it_has(log):
    keys = {
        "head": dict(lr_mult=2.0),
        "gcn.bias": dict(lr_mult=4.0, optional=True),
        "adapter": dict(lr_mult=4.0, optional=True),
    }
    build(custom_keys=keys)
    lines = [(level, text) for level, text in log if "adapter" in text]
    counts = "'head': 3, 'gcn.bias': 1, 'adapter': none (optional)"
    assert lines == [("INFO", f"Parameters of custom_keys: {counts}.")]


@pytest.mark.parametrize("paramwise", [dict(), dict(bias_lr_mult=2.0)])
def test_frozen_parameters_are_counted_in_one_line_and_not_warned_of(log, paramwise):
    build(**paramwise)
    text = "5 parameters are trained (10 values), 4 are frozen."
    assert [line for line in log if "frozen" in line[1]] == [("INFO", text)]
    assert [line for line in log if line[0] != "INFO"] == []


def test_other_warnings_stay_and_frozen_parameters_of_others_are_warned_of(log):
    model = Model()
    model.again = nn.Linear(2, 1)
    model.again.weight = model.head["prompt"].weight
    build(model, bypass_duplicate=True, bias_lr_mult=2.0)
    text = "again is duplicate. It is skipped since bypass_duplicate=True"
    assert [line for line in log if line[0] != "INFO"] == [("WARNING", text)]
    log.clear()
    build(constructor="DefaultOptimWrapperConstructor", bias_lr_mult=2.0)
    assert len([text for level, text in log if level == "WARNING"]) == 4


def test_a_setting_that_the_optimizer_does_not_have_is_an_error():
    with pytest.raises(ValueError, match="'head.gcn' sets lr_mul, which SGD does not"):
        build(custom_keys={"head.gcn": dict(lr_mul=3.0)})
    optimizer = build(custom_keys={"head.gcn": dict(lr_mult=3.0, momentum=0.5)})
    found = {(group["lr"], group["momentum"]) for group in optimizer.param_groups}
    assert found == {(0.5, 0), (1.5, 0.5)}
