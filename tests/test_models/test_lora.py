"""LoRA."""

import open_clip
import pytest
import torch
from mmpretrain.models.peft.lora import LoRALinear
from torch import nn

from capnet_mm.models import CLIPBackbone

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_lora_refuses_attention_and_names_without_a_match(clips):
    with pytest.raises(ValueError, match="MultiheadAttention"):
        CLIPBackbone(clips["vit"], adapter=dict(type="LoRA", targets=[".*out_proj"]))
    with pytest.raises(ValueError, match="No linear layer"):
        CLIPBackbone(clips["vit"], adapter=dict(type="LoRA", targets=["nothing"]))


def test_low_rank_products_are_added_to_both_layers_of_every_mlp(clips):
    """The tower of merged weights, W + alpha / rank * B A, by open_clip alone."""
    adapter = dict(type="LoRA", rank=2, alpha=6)
    backbone = CLIPBackbone(clips["vit"], adapter=adapter)
    visual = open_clip.create_model(clips["vit"]).eval().visual
    merged = []
    for name, layer in backbone.visual.named_modules():
        if isinstance(layer, LoRALinear):
            nn.init.normal_(layer.lora_up.weight, std=0.3)
            linear = visual.get_submodule(name)
            linear.weight.data += 3 * layer.lora_up.weight @ layer.lora_down.weight
            merged.append(name.partition("resblocks.")[2])
    assert merged == [f"{b}.mlp.{part}" for b in (0, 1) for part in ("c_fc", "c_proj")]
    with torch.no_grad():
        torch.testing.assert_close(backbone(IMAGES)[0], visual(IMAGES))
