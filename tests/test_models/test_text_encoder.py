import open_clip
import pytest
import torch

from capnet_mm.models import CLIPTextEncoder

TEXTS = ["a photo of a dog.", "a dining table with four chairs around it.", "tv"]


def test_cut_sequences_give_open_clips_features_of_77_tokens(tiny_clip):
    encoder = CLIPTextEncoder(tiny_clip)
    clip = open_clip.create_model(tiny_clip).eval()
    ids, _ = encoder.tokenize(TEXTS)
    assert ids.shape[1] < 20
    with torch.no_grad():
        expected = clip.encode_text(open_clip.get_tokenizer(tiny_clip)(TEXTS))
    torch.testing.assert_close(encoder.encode_text(TEXTS), expected)


def test_real_clip_has_open_clips_text_features(shared_dir):
    model = f"local-dir:{shared_dir / 'models' / 'pocket_clip'}"
    clip = open_clip.create_model(model).eval()
    with torch.no_grad():
        expected = clip.encode_text(open_clip.get_tokenizer(model)(TEXTS))
    difference = CLIPTextEncoder(model).encode_text(TEXTS) - expected
    assert difference.abs().max() < 1e-5


def test_text_longer_than_the_context_is_named(tiny_clip):
    encoder = CLIPTextEncoder(tiny_clip)
    with pytest.raises(ValueError, match="80 tokens; this CLIP takes 75"):
        encoder.encode_text(["dog " * 80])


def test_encoder_is_frozen_and_stays_in_eval_mode(tiny_clip):
    encoder = CLIPTextEncoder(tiny_clip).train()
    assert not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())


def test_towers_that_are_not_causal_are_refused():
    with pytest.raises(ValueError, match="not a causal transformer"):
        CLIPTextEncoder("coca_ViT-B-32")
