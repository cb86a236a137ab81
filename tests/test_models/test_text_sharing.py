"""The text branch shared out over gloo processes on the CPU."""

import copy
import json
import os
import sys
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from conftest import in_processes
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from capnet_mm.models.towers import batching
from capnet_mm.models.towers.batching import alone

# Names of different lengths: several buckets, none of which can be divided by 2 or 3.
NAMES = [
    "dog",
    "dining table with chairs",
    "tv",
    "traffic light by the road",
    "cat",
    "hot air balloon",
    "a very large bowl of fruit salad",
]
GLOBAL_BATCH, STEPS = 12, 3
ADAMW = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.05)
SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)


def build(model, num_classes=7, chunk_size=None, **head):
    torch.manual_seed(0)
    classifier = MODELS.build(
        dict(
            type="CLIPClassifier",
            clip=dict(model=model),
            backbone=dict(adapter=dict(type="AdaptFormer", bottleneck_dim=4)),
            head={
                "classes": NAMES[:num_classes],
                "text_encoder": dict(chunk_size=chunk_size),
                "prompt": dict(num_context=3),
                "graph": dict(topk=2),
                "gcn": dict(learnable_gamma=True, zero_init=False),
                "bias": -1.0,
                **head,
            },
        )
    )
    counts = [30, 10, 5, 2, 20, 1, 8][:num_classes]
    classifier.head.loss_module.set_class_counts(counts, num_images=40)
    return classifier.train()


def train(model, optimizer, rank, world_size, amp=False, micro_batches=1):
    """Train on a process's share of each batch; return the last gradients."""
    trained = {
        name.removeprefix("module."): p
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    optimizer = optimizer(trained.values())
    for step in range(STEPS):
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(GLOBAL_BATCH, 3, 32, 32, generator=generator)
        num_classes = getattr(model, "module", model).head.num_classes
        labels = [
            [i % num_classes, (i + 1 + step) % num_classes][: 1 + i % 2]
            for i in range(GLOBAL_BATCH)
        ]
        samples = [DataSample().set_gt_label(label) for label in labels]
        size = GLOBAL_BATCH // world_size // micro_batches
        for part in range(micro_batches):
            first = (part * world_size + rank) * size
            share = slice(first, first + size)
            last = part == micro_batches - 1
            wait = nullcontext() if last or world_size == 1 else model.no_sync()
            with wait, torch.autocast("cpu", torch.bfloat16, enabled=amp):
                loss = model(images[share], samples[share], mode="loss")["loss"]
                (loss / micro_batches).backward()
        optimizer.step()
    return {name: p.grad.clone() for name, p in trained.items()}


# How the model is built and how it is trained.
CASES = {
    "prompts of each class, SGD": (dict(), dict(optimizer=SGD)),
    "prompts of each class, AdamW": (dict(), dict(optimizer=ADAMW)),
    "a shared prompt": (
        dict(prompt=dict(num_context=3, class_specific=False)),
        dict(optimizer=SGD),
    ),
    "two classes": (
        dict(num_classes=2, graph=dict(topk=1)),
        dict(optimizer=SGD),
    ),
    "one class": (dict(num_classes=1), dict(optimizer=SGD)),
    "chunks": (dict(chunk_size=2), dict(optimizer=ADAMW)),
    "no GCN": (dict(gcn=None), dict(optimizer=SGD)),
    "no prompts": (dict(prompt=None), dict(optimizer=SGD)),
    "neither": (dict(prompt=None, gcn=None), dict(optimizer=SGD)),
    "accumulated gradients": (
        dict(),
        dict(optimizer=SGD, micro_batches=2),
    ),
    "mixed precision": (dict(), dict(optimizer=SGD, amp=True)),
}


def logits_of(model):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    model.eval()
    with torch.no_grad():
        return model(images, None, mode="tensor")


def largest(differences):
    return max((float(d.abs().max()) for d in differences if d.numel()), default=0.0)


def compare(model, rank, world_size, parts, training):
    """Differences between processes that share the text branch and one alone."""
    shared = build(model, **parts)
    single = copy.deepcopy(shared)
    single.head.text_encoder.batching.share = False
    before = {name: w.clone() for name, w in single.named_parameters()}
    expected = train(single, rank=0, world_size=1, **training)
    rows = []
    shared.head.text_encoder.ln_final.register_forward_hook(
        lambda _, x, y: rows.append(len(y))
    )
    wrapped = DistributedDataParallel(shared)
    gradients = train(wrapped, rank=rank, world_size=world_size, **training)
    in_training, rows[:] = list(rows), []
    logits = logits_of(wrapped)
    after, weights = dict(single.named_parameters()), dict(shared.named_parameters())
    return dict(
        rows=in_training,
        rows_in_evaluation=list(rows),
        gradient=largest(gradients[k] - expected[k] for k in expected),
        weights=largest(weights[k] - after[k] for k in after),
        moved=largest(after[k] - before[k] for k in after),
        logits=largest([logits - logits_of(single)]),
    )


def alone_in_one_process(model, rank):
    """The others do nothing meanwhile: who waited for them would wait for ever."""
    classifier = build(model).eval()
    if rank == 0:
        classifier.head.freeze_classes()
        with alone():
            classifier.head.compute_class_embeddings()
        classifier.head.text_encoder.encode_text(NAMES)
    return True


@pytest.fixture(scope="module", params=[2, 3])
def results(request, tiny_clip):
    """What each of two or of three processes found."""
    found = in_processes(request.param, __file__, tiny_clip)
    assert len(found) == request.param
    return found


@pytest.mark.parametrize("case", [case for case in CASES if case != "mixed precision"])
def test_processes_that_share_the_classes_train_as_one_does(results, case):
    for result in results:
        found = result[case]
        assert found["moved"] > 0.01
        assert found["gradient"] < 1e-5
        assert found["weights"] < 1e-5
        assert found["logits"] < 1e-5


def test_mixed_precision_differs_no_more_than_by_its_rounding(results):
    for result in results:
        found = result["mixed precision"]
        assert found["moved"] > 0.05
        assert found["weights"] < 0.02 * found["moved"]


def test_each_process_encodes_its_part_of_the_classes(results):
    share = -(-len(NAMES) // len(results))
    for result in results:
        found = result["prompts of each class, SGD"]
        # Buckets that cannot be divided are rounded up.
        assert len(found["rows"]) > STEPS
        assert share <= sum(found["rows"]) / STEPS <= share + 2
        assert sum(found["rows_in_evaluation"]) * STEPS == sum(found["rows"])
        # As many calls in each process, which FSDP needs.
        assert found["rows"] == results[0]["prompts of each class, SGD"]["rows"]
        assert max(result["chunks"]["rows"]) <= 2
        assert sum(result["one class"]["rows"]) == STEPS


def test_an_export_waits_for_no_other_process(results):
    assert all(result["alone"] for result in results)


if __name__ == "__main__":  # one of the processes
    distributed.init_process_group("gloo")
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    batching._OVERHEAD_CPU = 2  # several buckets, few as the classes are
    result = {
        case: compare(sys.argv[-1], rank, world_size, *how)
        for case, how in CASES.items()
    }
    result["alone"] = alone_in_one_process(sys.argv[-1], rank)
    print()
    print(json.dumps(result), flush=True)
    distributed.barrier()
    os._exit(0)  # gloo's threads can abort an interpreter that shuts down
