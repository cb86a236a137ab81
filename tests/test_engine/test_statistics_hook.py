import pytest
import torch
from torch import nn

from benchmarks.measure import peak_memory
from capnet_mm.engine import CAPNETStatisticsHook
from capnet_mm.engine.hooks.statistics_hook import _cosine_statistics
from capnet_mm.models import ZeroResidual

TEXT = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.6, 0.8, 0]])
RESIDUAL = torch.tensor([[0.3, 0, 0], [0, 0, 0.4], [0, 0, 0.2]])


class GCN(nn.Linear):
    """Gives the same residual for whatever text features."""

    def forward(self, text_features, adjacency):
        return RESIDUAL + 0 * self.weight.sum()


class Head(nn.Module):
    """Has the parts of CorrelationPromptHead that the hook looks at."""

    # As in a process that does not hold the temperature under FSDP, until forward.
    temperature = torch.zeros(0)

    def __init__(self):
        super().__init__()
        self.prompt = nn.Linear(4, 2)
        self.gcn = GCN(2, 2)

    def forward(self, x):
        self.temperature = torch.tensor(0.125)
        outputs = self.prompt(x)
        return outputs + 0 * self.gcn(TEXT, None).sum() + self.gcn.weight.sum()


@pytest.fixture
def model(toy):
    class Model(toy.Model):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = self.frozen, Head()
            del self.frozen, self.trained
            self.backbone[0].bias.requires_grad_(True)

        def train(self, mode=True):
            return nn.Module.train(self, mode)

        def forward(self, inputs, mode="tensor"):
            outputs = self.head(self.backbone(torch.stack(list(inputs))))
            return dict(loss=outputs.pow(2).mean()) if mode == "loss" else list(outputs)

    return Model()


def scalars_after(runner):
    runner.train()
    hub = runner.message_hub.log_scalars
    return {
        key.removeprefix("train/"): hub[key].data[0].tolist()
        for key in hub
        if key.startswith("train/")
    }


def test_statistics_of_the_head_are_those_computed_by_hand(make_runner, model):
    scalars = scalars_after(make_runner([CAPNETStatisticsHook(1)], model, epochs=1))
    assert scalars["temperature"] == [0.125] * 3
    assert scalars["residual_ratio"] == pytest.approx([0.3] * 3)  # of 0.3, 0.4, 0.2
    # With the residuals: (1.3, 0, 0), (0, 1, 0.4) and (0.6, 0.8, 0.2).
    cosines = [0, 0.6 / 1.04**0.5, 0.88 / (1.16 * 1.04) ** 0.5]
    assert scalars["class_cosine_mean"] == pytest.approx([sum(cosines) / 3] * 3)
    assert scalars["class_cosine_max"] == pytest.approx([max(cosines)] * 3)


def unit_rows(num_classes, width=32, common=1.0):
    """Embeddings as of a CLIP: all of them have a direction in common."""
    rows = torch.randn(num_classes, width, generator=torch.Generator().manual_seed(0))
    return nn.functional.normalize(rows + common, dim=-1)


@pytest.mark.parametrize("common", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("num_classes", [2, 500, 1024, 1025, 3000])
def test_cosines_are_those_of_the_matrix_of_all_pairs(num_classes, common):
    embeddings = unit_rows(num_classes, common=common)
    scalars = dict(_cosine_statistics(embeddings))
    matrix = embeddings.double() @ embeddings.double().T
    off_diagonal = matrix[~torch.eye(num_classes, dtype=torch.bool)]
    mean = float(off_diagonal.mean())
    assert scalars["class_cosine_mean"] == pytest.approx(mean, abs=1e-6)
    if num_classes > 1024:
        places = [k * (num_classes - 1) // 1023 for k in range(1024)]
        assert len(set(places)) == 1024 and places[-1] == num_classes - 1
        matrix = matrix[places][:, places]
        off_diagonal = matrix[~torch.eye(1024, dtype=torch.bool)]
    largest = float(off_diagonal.max())
    assert scalars["class_cosine_max"] == pytest.approx(largest, abs=1e-6)


def test_thousands_of_classes_take_no_matrix_of_all_pairs():
    embeddings = unit_rows(10_000)
    peak = peak_memory(lambda: dict(_cosine_statistics(embeddings)))
    assert peak < 10_000 * 10_000 * 4 / 40  # bytes; one such matrix has 400 MB


@pytest.mark.parametrize("wrapper", [dict(), dict(clip_grad=dict(max_norm=0.01))])
def test_gradient_norms_are_those_that_plain_sgd_steps_by(make_runner, model, wrapper):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    runner = make_runner(
        [CAPNETStatisticsHook(1)],
        model,
        epochs=1,
        optimizer=dict(type="SGD", lr=0.5),
        wrapper=wrapper,
        dataset=torch.utils.data.Subset(make_runner().train_dataloader.dataset, [0, 1]),
    )
    scalars = scalars_after(runner)  # one step: w' = w - lr * gradient
    for part, prefix in (
        ("adapter", "backbone."),
        ("prompt", "head.prompt."),
        ("gcn", "head.gcn."),
    ):
        squares = [
            ((before[name] - p.detach()) / 0.5).pow(2).sum()
            for name, p in model.named_parameters()
            if name.startswith(prefix)
        ]
        norm = float(torch.stack(squares).sum().sqrt())
        assert norm > 0
        assert scalars[f"grad_norm_{part}"] == pytest.approx([norm], rel=1e-3)


def test_numbers_are_written_every_interval_and_gradients_at_the_next_step(
    make_runner, model
):
    runner = make_runner(
        [CAPNETStatisticsHook(interval=2)],
        model,
        epochs=4,
        wrapper=dict(accumulative_counts=3),
    )
    scalars = scalars_after(runner)
    assert len(scalars["loss"]) == 12
    assert len(scalars["temperature"]) == 6
    assert len(scalars["grad_norm_gcn"]) == 4  # there are only 12 / 3 steps


def test_gradient_norms_under_amp_are_without_the_scale(model):
    # GradScaler on CPU does what it does on a GPU.
    hook = CAPNETStatisticsHook(1)
    norms = []
    for scale in (None, 1024.0):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

        class Runner:
            pass

        runner = Runner()
        runner.model, runner.iter = model, 0
        runner.optim_wrapper = type("Wrapper", (), dict(optimizer=optimizer))()
        hook.before_train(runner)
        hook.before_train_iter(runner, 0)
        optimizer.zero_grad()
        loss = model.head(torch.ones(2, 4)).pow(2).mean()
        if scale is None:
            loss.backward()
            optimizer.step()
        else:
            scaler = torch.amp.GradScaler("cpu", init_scale=scale)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
        norms.append(hook._gradient_norms.pop("prompt"))
    assert norms[0] > 0
    assert norms[1] == pytest.approx(norms[0], rel=1e-6)


def test_numbers_reach_the_log(make_runner, model, read_log):
    runner = make_runner([CAPNETStatisticsHook(1)], model, epochs=1)
    runner.train()
    log = read_log(runner)
    for name in ("temperature: 0.1250", "residual_ratio: 0.3000", "grad_norm_gcn:"):
        assert name in log


def test_parts_that_are_switched_off_are_left_out(make_runner, model):
    model.head.gcn, model.head.temperature = ZeroResidual(), torch.tensor(0.125)
    model.head.forward = lambda x: (
        model.head.prompt(x) + 0 * model.head.gcn(TEXT, None).sum()
    )
    scalars = scalars_after(make_runner([CAPNETStatisticsHook(1)], model, epochs=1))
    assert "residual_ratio" not in scalars
    assert "grad_norm_gcn" not in scalars
    assert len(scalars["grad_norm_prompt"]) == len(scalars["class_cosine_max"]) == 3


def test_other_models_are_left_alone_and_that_is_said_once(make_runner, read_log):
    runner = make_runner([CAPNETStatisticsHook(1)])
    assert "temperature" not in scalars_after(runner)
    assert read_log(runner).count("CAPNETStatisticsHook logs nothing") == 1


def test_an_interval_below_one_is_refused():
    with pytest.raises(ValueError, match="interval=0"):
        CAPNETStatisticsHook(interval=0)
