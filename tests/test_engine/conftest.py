"""A small real MMEngine runner, for hooks to be tried in."""

import itertools
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from capnet_mm.models.identity import LoadsFrozenWeights

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def ctrl_c():
    """Have Ctrl-C heard: what a shell puts into the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class ToyDataset(torch.utils.data.Dataset):
    """Twelve points, augmented by each of the three random generators."""

    def __init__(self, **metainfo):
        self.metainfo = metainfo

    def __len__(self):
        return 12

    def __getitem__(self, index):
        noise = random.random() + np.random.rand() + torch.rand(4)
        return dict(inputs=torch.arange(4.0) * index / 12 + noise)


class ToyTower(LoadsFrozenWeights, nn.Sequential):
    """Has its frozen weights from construction, as a CLIP's tower."""


class ToyModel(BaseModel):
    """A frozen tower with dropout, a trained layer, a batch norm, a buffer."""

    def __init__(self, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.frozen = ToyTower(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.frozen[0].weight.data.normal_(generator=generator)
        self.frozen[0].bias.data.zero_()
        self.frozen.requires_grad_(False)
        self.frozen.remember_frozen_weights(f"toy tower {seed}")
        self.dropout = nn.Dropout(0.3)
        self.trained = nn.Linear(4, 2)
        self.trained.weight.data.fill_(0.1)
        self.trained.bias.data.zero_()
        self.counts = nn.Module()
        self.counts.register_buffer("class_counts", torch.tensor([3.0, 9.0]))

    def train(self, mode=True):
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, inputs, mode="tensor"):
        inputs = torch.stack(list(inputs))
        outputs = self.trained(self.dropout(self.frozen(inputs)))
        return dict(loss=outputs.pow(2).mean()) if mode == "loss" else list(outputs)


class ToyMetric(BaseMetric):
    """Returns the kinds of values that metrics return."""

    default_prefix = "toy"

    def process(self, data_batch, data_samples):
        self.results.extend(float(sample.sum()) for sample in data_samples)

    def compute_metrics(self, results):
        return dict(
            mean=np.float64(np.mean(results)),
            single=np.float32(1.5),
            per_class=np.arange(3.0),
            count=np.int64(len(results)),
        )


@pytest.fixture
def make_runner(tmp_path):
    def make(
        hooks=(),
        model=None,
        dataset=None,
        epochs=2,
        work_dir=None,
        num_workers=0,
        loader=None,
        optimizer=None,
        checkpoint=None,
        validate=False,
        wrapper=None,
        loop=None,
        **kwargs,
    ):
        sampler = dict(type="DefaultSampler", shuffle=True)
        dataset = ToyDataset() if dataset is None else dataset
        if validate:
            kwargs.update(
                val_dataloader=dict(
                    dataset=ToyDataset(), sampler=dict(sampler), batch_size=4
                ),
                val_cfg=dict(),
                val_evaluator=Evaluator(ToyMetric()),
            )
        kwargs.setdefault(
            "param_scheduler",
            dict(type="CosineAnnealingLR", T_max=4, by_epoch=True),
        )
        return Runner(
            ToyModel() if model is None else model,
            str(work_dir or tmp_path / "work"),
            train_dataloader=dict(
                dataset=dataset,
                sampler=sampler,
                batch_size=4,
                num_workers=num_workers,
                **(loader or {}),
            ),
            train_cfg=dict(loop or dict(by_epoch=True), max_epochs=epochs),
            optim_wrapper=dict(
                optimizer=optimizer or dict(type="SGD", lr=0.02, momentum=0.9),
                **(wrapper or {}),
            ),
            default_hooks=dict(
                logger=dict(type="LoggerHook", interval=1),
                checkpoint=checkpoint or dict(type="CheckpointHook", interval=1),
            ),
            custom_hooks=list(hooks),
            randomness=kwargs.pop("randomness", dict(seed=3)),
            # MMEngine shares the message hub between runners of one name.
            experiment_name=f"toy{next(_numbers)}",
            default_scope="mmpretrain",
            **kwargs,
        )

    return make


@pytest.fixture
def read_log():
    def read(runner):
        return "".join(p.read_text() for p in Path(runner.work_dir).glob("*/*.log"))

    return read


@pytest.fixture
def toy():
    """The classes, for tests that build their own."""

    class Toy:
        Dataset = ToyDataset
        Metric = ToyMetric
        Model = ToyModel

    return Toy
