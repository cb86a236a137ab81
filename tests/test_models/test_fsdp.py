"""Sharded training with PyTorch's FSDP in two gloo processes on the CPU."""

import json
import os
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from conftest import in_processes
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from open_clip.transformer import ResidualAttentionBlock
from torch import distributed, nn
from torch.distributed.fsdp import (
    FullStateDictConfig,
    FullyShardedDataParallel,
    StateDictType,
    fully_shard,
)
from torch.distributed.fsdp.wrap import ModuleWrapPolicy, size_based_auto_wrap_policy

from capnet_mm.engine import TrainableCheckpointHook
from capnet_mm.models import CLIPTextEncoder, ResidualGCN, SoftPrompt

# Names of different lengths: several buckets, encoded again in the backward pass.
NAMES = ["dog", "dining table with chairs", "tv", "traffic light by the road"]
GLOBAL_BATCH = 8


def build(model, share=True, **head):
    torch.manual_seed(0)
    adapter = [dict(type="AdaptFormer", bottleneck_dim=4), dict(type="BiasTuning")]
    classifier = MODELS.build(
        dict(
            type="CLIPClassifier",
            clip=dict(model=model),
            backbone=dict(adapter=adapter, channels_last=True),
            head=dict(
                classes=NAMES,
                text_encoder=dict(chunk_size=2, share=share),
                prompt=dict(num_context=3, class_specific=False),
                graph=dict(topk=2),
                gcn=dict(learnable_gamma=True, zero_init=False),
                bias=-1.0,
                **head,
            ),
        )
    )
    classifier.head.loss_module.set_class_counts([30, 10, 5, 2], num_images=40)
    return classifier.train()


def train(model, rank, world_size):
    """Train on a process's share of each batch; return the batches' losses."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.02, momentum=0.9)
    losses = []
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(GLOBAL_BATCH, 3, 32, 32, generator=generator)
        labels = [[i % 4, (i + 1 + step) % 4][: 1 + i % 2] for i in range(GLOBAL_BATCH)]
        samples = [DataSample().set_gt_label(label) for label in labels]
        size = GLOBAL_BATCH // world_size
        share = slice(rank * size, (rank + 1) * size)
        loss = model(images[share], samples[share], mode="loss")["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss = loss.detach() / world_size
        if world_size > 1:
            distributed.all_reduce(loss)
        losses.append(float(loss))
    return losses


def fsdp1(model, policy=None):
    model = FullyShardedDataParallel(
        model,
        auto_wrap_policy=policy,
        use_orig_params=True,  # frozen and trained weights in one unit
        device_id=torch.device("cpu"),
    )
    return model, partial(whole_weights, model)


def whole_weights(model):
    # Not off-loaded: on a CPU PyTorch then reads memory that it has given back.
    config = FullStateDictConfig(offload_to_cpu=False, rank0_only=False)
    with FullyShardedDataParallel.state_dict_type(
        model, StateDictType.FULL_STATE_DICT, config
    ):
        return model.state_dict()


def fsdp2(model, *units):
    for module in model.modules():
        if isinstance(module, units):
            fully_shard(module)
    fully_shard(model)

    def weights():
        state = model.state_dict().items()
        return {
            k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in state
        }

    return model, weights


WAYS = {
    "FSDP1, one unit": fsdp1,
    "FSDP1, blocks": partial(fsdp1, policy=ModuleWrapPolicy({ResidualAttentionBlock})),
    "FSDP1, parts": partial(
        fsdp1, policy=ModuleWrapPolicy({SoftPrompt, CLIPTextEncoder, ResidualGCN})
    ),
    "FSDP1, by size": partial(
        fsdp1, policy=partial(size_based_auto_wrap_policy, min_num_params=3000)
    ),
    "FSDP2, blocks": lambda model: fsdp2(model, ResidualAttentionBlock),
    "FSDP2, convolutions": lambda model: fsdp2(model, nn.Conv2d),
}
POOLING = dict(pooling=dict(weight=0.5, learnable=True))
WAYS_OF_POOLING = {
    f"{way}, pooling": WAYS[way] for way in ("FSDP1, blocks", "FSDP2, blocks")
}


def logits_of(model):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    model.eval()
    with torch.no_grad():
        return model(images, None, mode="tensor")


def saved_keys(model, weights):
    """Keys that a checkpoint of the whole weights has with TrainableCheckpointHook."""
    checkpoint = dict(state_dict=dict(weights))
    runner = SimpleNamespace(model=model)
    TrainableCheckpointHook().before_save_checkpoint(runner, checkpoint)
    return sorted(checkpoint["state_dict"])


def differences(model, ways, **head):
    """Train in each way; compare with one process that has the whole batches."""
    rank, world_size = distributed.get_rank(), distributed.get_world_size()
    whole = build(model, share=False, **head)
    before = {name: weight.clone() for name, weight in whole.state_dict().items()}
    losses = torch.tensor(train(whole, rank=0, world_size=1))
    after, logits = whole.state_dict(), logits_of(whole)
    results = {}
    for name, shard in ways.items():
        sharded, gather = shard(build(model, **head))
        mine = sum(getattr(p, "_local_tensor", p).numel() for p in sharded.parameters())
        sharded_losses = torch.tensor(train(sharded, rank, world_size))
        weights = gather()
        assert weights.keys() == after.keys()
        results[name] = dict(
            share=mine / sum(p.numel() for p in whole.parameters()),
            losses=float((sharded_losses - losses).abs().max()),
            weights=max(float((weights[k] - after[k]).abs().max()) for k in after),
            logits=float((logits_of(sharded) - logits).abs().max()),
            saved=saved_keys(sharded, weights),
        )
    moved = max(float((after[k] - before[k]).abs().max()) for k in after)
    return dict(ways=results, moved=moved, saved=saved_keys(whole, after))


@pytest.fixture(scope="module")
def results(tiny_clip):
    """What :func:`differences` returns in each of two processes; with pooling too."""
    return in_processes(2, __file__, tiny_clip)


@pytest.mark.parametrize("way", [*WAYS, *WAYS_OF_POOLING])
def test_two_processes_that_share_the_weights_train_as_one_does(results, way):
    for result in (both[way in WAYS_OF_POOLING] for both in results):
        assert result["moved"] > 0.05
        found = result["ways"][way]
        assert 0.3 < found["share"] < 0.7
        assert found["losses"] < 1e-5
        assert found["weights"] < 1e-5
        assert found["logits"] < 1e-5
        assert found["saved"] == result["saved"]
        assert not [key for key in found["saved"] if "in_proj_weight" in key]


if __name__ == "__main__":  # one of the two processes
    distributed.init_process_group("gloo")
    result = [
        differences(sys.argv[-1], WAYS),
        differences(sys.argv[-1], WAYS_OF_POOLING, **POOLING),
    ]
    print()
    print(json.dumps(result), flush=True)
    distributed.barrier()
    os._exit(0)  # gloo's threads can abort an interpreter that shuts down
