"""BiasTuning."""

import pytest
import torch
from torch import nn

from capnet_mm.models import CLIPBackbone
from capnet_mm.models.peft.bias_tuning import BiasTuning

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("vision", ["vit", "resnet", "timm", "timm_vit"])
def test_all_biases_are_trained_and_nothing_else(clips, vision):
    backbone = CLIPBackbone(clips[vision], adapter=dict(type="BiasTuning"))
    trained = {id(p) for p in backbone.parameters() if p.requires_grad}
    layers = list(backbone.modules())
    biases = {id(m.bias) for m in layers if getattr(m, "bias", None) is not None}
    # PyTorch's attention has the bias of three projections in one tensor.
    attentions = [m for m in layers if getattr(m, "in_proj_bias", None) is not None]
    assert trained == biases | {id(m.in_proj_bias) for m in attentions}
    assert trained


def test_a_step_moves_biases_and_leaves_weights_and_running_statistics(clips):
    backbone = CLIPBackbone(clips["resnet"], adapter=dict(type="BiasTuning")).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    trained = [p for p in backbone.parameters() if p.requires_grad]
    backbone(IMAGES)[0].square().sum().backward()
    torch.optim.SGD(trained, lr=1.0).step()
    after = backbone.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.endswith("bias") for name in moved)


def test_a_tower_without_biases_is_refused_by_name():
    with pytest.raises(ValueError, match="Linear has no biases to tune"):
        BiasTuning().attach(nn.Linear(2, 2, bias=False), None)
