"""Models to export, as after some training: no part is at its start."""

import copy

import torch
from mmengine.config import Config

from capnet_mm.apis import MultiLabelInferencer

CLASSES = ["dog", "cat", "dining table"]
SIZES = dict(vit=32, timm=32, resnet=64, mixed=64)
ADAPTERS = dict(
    vit=[dict(type="LoRA"), dict(type="ScaleShift")], timm="auto", resnet="auto"
)
# MMPretrain's ResNet, and a BGR input.
RESNET = dict(type="ResNet", depth=18, base_channels=8, stem_channels=8)


def make_inferencer(clips, tower, pooling=None) -> MultiLabelInferencer:
    head = dict(pooling=pooling, classes=CLASSES, prompt=dict(num_context=2), bias=-1.0)
    head["gcn"] = dict(zero_init=False)
    if tower == "mixed":
        text = dict(model=clips["vit"])
        head |= dict(type="CorrelationPromptHead", in_channels=64, text_encoder=text)
        model = dict(
            type="ImageClassifier",
            backbone=RESNET,
            neck=dict(type="GlobalAveragePooling"),
            head=head,
            data_preprocessor=dict(mean=[100.0, 110, 120], std=[50.0, 60, 70]),
        )
    else:
        backbone = dict(adapter=ADAPTERS[tower], channels_last=True)
        clip = dict(model=clips[tower])
        model = dict(type="CLIPClassifier", clip=clip, backbone=backbone, head=head)
    size = SIZES[tower]
    pipeline = [
        dict(type="LoadImage", min_edge=2 * size),
        dict(type="FastResizeEdge", scale=size),
        dict(type="CenterCrop", crop_size=size),
        dict(type="PackInputs"),
    ]
    torch.manual_seed(0)
    inferencer = MultiLabelInferencer(
        Config(dict(model=copy.deepcopy(model), test_pipeline=pipeline)),
        pretrained=False,
        device="cpu",
    )
    for name, parameter in inferencer.model.named_parameters():
        if parameter.requires_grad and "logit" not in name:
            parameter.data += 0.05 * torch.randn_like(parameter)
    return inferencer
