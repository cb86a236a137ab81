"""What becomes of a trained model elsewhere: export, other precisions, int8."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import nn

init_default_scope("mmpretrain")

ADAPTERS = {
    "vit": dict(type="AdaptFormer", bottleneck_dim=2),
    "vit_224": dict(type="LoRA"),
    "resnet": "auto",
    "timm": "auto",
    "timm_vit": dict(type="ScaleShift"),
}
SIZES = dict(vit=32, vit_224=224, resnet=64, timm=32, timm_vit=224)


def make_model(clips, tower):
    """A model as after some training: no part of it is at its start."""
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="CLIPClassifier",
            clip=dict(model=clips[tower]),
            backbone=dict(adapter=ADAPTERS[tower], channels_last=True),
            head=dict(
                classes=["dog", "cat", "dining table"],
                prompt=dict(num_context=2),
                gcn=dict(zero_init=False),
                bias=-1.0,
            ),
        )
    )
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "logit" not in name:
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model.eval()


def make_images(tower, number):
    size = SIZES[tower]
    generator = torch.Generator().manual_seed(number)
    return torch.randn(number, 3, size, size, generator=generator)


@pytest.mark.parametrize("tower", list(ADAPTERS))
def test_an_exported_model_takes_any_batch_and_equals_eager(clips, tower):
    model = make_model(clips, tower)
    model.head.freeze_classes()
    with torch.no_grad():
        exported = torch.export.export(
            model,
            (make_images(tower, 2),),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        ).module()
        for number in (1, 5):
            images = make_images(tower, number)
            torch.testing.assert_close(
                exported(images), model(images), rtol=0, atol=1e-5
            )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("tower", ["vit", "timm"])
def test_a_model_of_another_precision_scores_alike(clips, tower, dtype):
    model, images = make_model(clips, tower), make_images(tower, 4)
    with torch.no_grad():
        expected = model(images)
        found = model.to(dtype)(images.to(dtype)).float()
    tolerance = 1e-4 if dtype == torch.float64 else 0.3
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("tower", ["vit", "timm"])
def test_linear_layers_of_eight_bits_score_nearly_alike(clips, tower, frozen):
    model, images = make_model(clips, tower), make_images(tower, 16)
    with torch.no_grad():
        expected = model(images)
    if frozen:
        model.head.freeze_classes()
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    with torch.no_grad():
        found = quantized(images)
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.5)


def test_classes_that_were_frozen_in_inference_mode_let_gradients_through(clips):
    model, images = make_model(clips, "vit"), make_images("vit", 2)
    with torch.inference_mode():
        model(images)
        model.head.freeze_classes()
    images.requires_grad_()
    model(images).sum().backward()
    assert images.grad.abs().sum() > 0
