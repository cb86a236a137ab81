import open_clip
import torch

from benchmarks.baselines import (
    FullLengthTextEncoder,
    everything_in_autograd,
    restore_layers,
)
from capnet_mm.models import CLIPBackbone


def test_usual_way_is_open_clips_encoding_of_77_tokens(tiny_clip):
    encoder = FullLengthTextEncoder(tiny_clip)
    clip = open_clip.create_model(tiny_clip).eval()
    texts = ["a dog.", "a photo of a dining table."]
    lengths = []
    encoder.ln_final.register_forward_hook(lambda _, x, y: lengths.append(y.shape[1]))
    with torch.no_grad():
        expected = clip.encode_text(open_clip.get_tokenizer(tiny_clip)(texts))
    torch.testing.assert_close(encoder.encode_text(texts), expected)
    assert lengths == [77]


def test_usual_way_trains_open_clips_own_layers(clips):
    backbone = CLIPBackbone(clips["vit"])
    bare = open_clip.create_model(clips["vit"]).visual
    restore_layers(backbone)
    types = [type(layer) for layer in backbone.visual.modules()]
    assert types == [type(layer) for layer in bare.modules()]


def test_usual_way_computes_gradients_of_all_weights_and_leaves_none(tiny_clip):
    encoder = FullLengthTextEncoder(tiny_clip)
    embeddings = torch.randn(2, 5, 32, requires_grad=True)
    with everything_in_autograd(encoder):
        encoder(embeddings, torch.tensor([4, 3])).sum().backward()
        assert encoder.transformer.resblocks[0].mlp.c_fc.weight.grad.abs().max() > 0
    assert not any(p.requires_grad or p.grad is not None for p in encoder.parameters())
