import re
from functools import partial

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn
from torch.utils.checkpoint import checkpoint

from capnet_mm.engine import UntrainedParametersHook

START = "Some trainable parameters (requires_grad=True) are not trained: "


def warnings_of(read_log, runner):
    return [
        line.split(START)[1]
        for line in read_log(runner).splitlines()
        if " WARNING " in line and START in line
    ]


def make_unused(model, **layers):
    for name, layer in layers.items():
        setattr(model, name, layer)
    return model


@pytest.mark.parametrize("accumulative_counts", [1, 2])
def test_parameters_without_gradient_are_named_once(
    make_runner, toy, read_log, accumulative_counts
):
    model = make_unused(toy.Model(), unused=nn.Linear(2, 2), off=nn.Linear(2, 2))
    model.off.requires_grad_(False)
    wrapper = dict(accumulative_counts=accumulative_counts)
    runner = make_runner([UntrainedParametersHook()], model, wrapper=wrapper)
    runner.train()
    expected = "without gradient at the first step are unused.bias, unused.weight."
    assert warnings_of(read_log, runner) == [expected]


def test_a_trained_model_is_not_warned_of_and_the_optimizer_is_left_as_it_was(
    make_runner, toy, read_log
):
    runner = make_runner([UntrainedParametersHook()])
    runner.train()
    assert warnings_of(read_log, runner) == []
    assert not runner.optim_wrapper.optimizer._optimizer_step_pre_hooks


def test_a_gradient_from_any_accumulated_iteration_counts(make_runner, toy, read_log):
    class Model(toy.Model):
        calls = 0

        def __init__(self):
            super().__init__()
            self.extra = nn.Linear(2, 2)

        def forward(self, inputs, mode="tensor"):
            losses = super().forward(inputs, mode)
            self.calls += 1
            if self.calls == 1:
                losses["loss"] = losses["loss"] + self.extra(torch.ones(2)).sum()
            return losses

    wrapper = dict(accumulative_counts=3)
    runner = make_runner([UntrainedParametersHook()], Model(), wrapper=wrapper)
    runner.train()
    assert warnings_of(read_log, runner) == []


def test_a_large_part_is_named_by_what_its_names_begin_with(make_runner, toy, read_log):
    layers = nn.ModuleDict(
        dict(
            gcn=nn.ModuleDict(dict(layers=nn.Sequential(nn.Linear(1, 1)))),
            visual=nn.ModuleDict(
                dict(blocks=nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)))
            ),
        )
    )
    runner = make_runner(
        [UntrainedParametersHook()], make_unused(toy.Model(), part=layers)
    )
    runner.train()
    assert warnings_of(read_log, runner) == [
        "without gradient at the first step are part.gcn.layers.0.bias, "
        "part.gcn.layers.0.weight, part.visual.blocks: 4 parameters, e.g. "
        "part.visual.blocks.0.bias."
    ]


def test_parameters_without_elements_are_left_out(make_runner, toy, read_log):
    model = make_unused(toy.Model(), shard=nn.Parameter(torch.empty(0)))
    runner = make_runner([UntrainedParametersHook()], model)
    runner.train()
    assert warnings_of(read_log, runner) == []


def test_parameters_of_no_optimizer_are_named(make_runner, toy, read_log):
    model = make_unused(toy.Model(), unused=nn.Linear(2, 2))
    runner = make_runner([UntrainedParametersHook()], model, param_scheduler=None)
    optimizer = torch.optim.SGD([*model.trained.parameters(), model.unused.bias], 0.1)
    runner.optim_wrapper = OptimWrapper(optimizer)
    runner.train()
    assert warnings_of(read_log, runner) == [
        "without gradient at the first step are unused.bias; "
        "in no optimizer are unused.weight."
    ]


@pytest.mark.parametrize(
    ("second_steps_in", "expected"),
    [
        (2, "without gradient at the first step are two.unused"),
        (
            None,
            "in an optimizer that took no step are two.unused, two.used.bias, "
            "two.used.weight",
        ),
    ],
)
def test_each_optimizer_is_looked_at_when_it_steps_first(
    make_runner, toy, read_log, second_steps_in, expected
):
    class Model(toy.Model):
        iteration = 0

        def __init__(self):
            super().__init__()
            del self.trained
            self.one = nn.Linear(4, 2)
            self.two = nn.ModuleDict(dict(used=nn.Linear(4, 2)))
            self.two.unused = nn.Parameter(torch.ones(1))

        def train_step(self, data, optim_wrapper):
            x = torch.stack(list(data["inputs"]))
            loss = self.one(x).pow(2).mean()
            optim_wrapper["one"].update_params(loss)
            if self.iteration == second_steps_in:
                optim_wrapper["two"].update_params(self.two.used(x).pow(2).mean())
            self.iteration += 1
            return dict(loss=loss.detach())

    model = Model()
    runner = make_runner([UntrainedParametersHook()], model, param_scheduler=None)
    runner.optim_wrapper = OptimWrapperDict(
        **{
            name: OptimWrapper(torch.optim.SGD(getattr(model, name).parameters(), 0.1))
            for name in ("one", "two")
        }
    )
    runner.train()
    assert warnings_of(read_log, runner) == [f"{expected}."]


@pytest.fixture
def process_group():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_names_under_distributed_training_are_the_models_own(
    process_group, make_runner, toy, read_log
):
    model = make_unused(toy.Model(), unused=nn.Linear(2, 2))
    wrapped = MMDistributedDataParallel(model, find_unused_parameters=True)
    runner = make_runner([UntrainedParametersHook()], wrapped)
    runner.train()
    expected = "without gradient at the first step are unused.bias, unused.weight."
    assert warnings_of(read_log, runner) == [expected]


ADAPTERS = dict(
    vit=dict(type="AdaptFormer", bottleneck_dim=3),
    resnet=[dict(type="ScaleShift"), dict(type="BiasTuning")],
)


@pytest.mark.parametrize("vision", ADAPTERS)
def test_adapters_behind_a_reentrant_checkpoint_are_named(
    make_clip_runner, read_log, vision
):
    runner = make_clip_runner(vision, ADAPTERS[vision], [UntrainedParametersHook()])
    visual = runner.model.backbone.visual
    visual.forward = partial(checkpoint, visual.forward, use_reentrant=True)
    count = sum(p.requires_grad for p in visual.parameters())
    runner.train()
    (warning,) = warnings_of(read_log, runner)
    start = (
        f"without gradient at the first step are backbone.visual[^:]*: {count} param"
    )
    assert re.match(start, warning)
    assert "head." not in warning


@pytest.mark.parametrize("vision", ADAPTERS)
@pytest.mark.parametrize("modules", [None, ["backbone.visual"]])
def test_capnet_itself_is_not_warned_of(make_clip_runner, read_log, vision, modules):
    runner = make_clip_runner(
        vision,
        ADAPTERS[vision],
        [UntrainedParametersHook()],
        activation_checkpointing=modules,
    )
    runner.train()
    assert warnings_of(read_log, runner) == []
