"""The class names, models and batches that the benchmarks share."""

import torch
from mmpretrain.structures import DataSample
from torch import nn

from capnet_mm.datasets import COCOLT
from capnet_mm.models import CLIPClassifier


def class_names(num_classes: int) -> list[str]:
    """COCO's 80 names, and then these with numbers behind: 'dog 1', 'dog 2', …."""
    names = COCOLT(lazy_init=True).metainfo["prompt_names"]
    rounds = (
        name if number == 0 else f"{name} {number}"
        for number in range(-(-num_classes // len(names)))
        for name in names
    )
    return [name for _, name in zip(range(num_classes), rounds, strict=False)]


def classifier(clip: str, num_classes: int, seed: int = 0, **parts: dict) -> nn.Module:
    """CAPNET with the default of every piece and random weights.

    Args:
        clip: open_clip's name of the CLIP.
        num_classes: Number of classes, C.
        seed: Seed of the weights, which two models of one seed share.
        **parts: Configs ``head`` and ``backbone`` that complete or replace the
            defaults.
    """
    torch.manual_seed(seed)
    names = class_names(num_classes)
    head = dict(classes=names, graph=dict(topk=20), loss=dict(type="DBFocalLoss"))
    model = CLIPClassifier(
        clip=dict(model=clip, pretrained=None),
        backbone={"adapter": "auto", **parts.get("backbone", {})},
        head={**head, **parts.get("head", {})},
    )
    model.head.loss_module.set_class_counts([10] * num_classes, 1000)
    return model


def image_batch(
    model: nn.Module, batch_size: int, num_classes: int, device: torch.device | str
) -> tuple[torch.Tensor, list[DataSample]]:
    """Random normalised images, (B, 3, H, W), with three labels each."""
    generator = torch.Generator().manual_seed(0)
    size = model.backbone.visual.image_size
    height, width = size if isinstance(size, list | tuple) else (size, size)
    images = torch.randn(batch_size, 3, height, width, generator=generator)
    samples = []
    for _ in range(batch_size):
        labels = torch.randint(num_classes, (3,), generator=generator).unique()
        sample = DataSample().set_gt_label(labels)
        sample.set_field(num_classes, "num_classes", field_type="metainfo")
        samples.append(sample.to(device))
    return images.to(device), samples
