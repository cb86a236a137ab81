import open_clip
import pytest
import torch
from torch.nn import functional as F

from capnet_mm.models import CLIPTextEncoder, TemplatePrompt

NAMES = ["dog", "dining table"]


@pytest.fixture(scope="module")
def encoder(tiny_clip):
    return CLIPTextEncoder(tiny_clip)


@pytest.mark.parametrize("templates", ["a {}.", ["a photo of a {}.", "art of a {}"]])
def test_features_are_the_mean_of_open_clips_own(encoder, tiny_clip, templates):
    clip = open_clip.create_model(tiny_clip).eval()
    tokenize = open_clip.get_tokenizer(tiny_clip)
    texts = [templates] if isinstance(templates, str) else templates
    with torch.no_grad():
        expected = sum(
            F.normalize(
                clip.encode_text(tokenize([t.format(n) for n in NAMES])), dim=-1
            )
            for t in texts
        ) / len(texts)
    prompt = TemplatePrompt(NAMES, encoder, templates)
    torch.testing.assert_close(prompt(encoder), expected, rtol=1e-4, atol=1e-5)
    assert not prompt.state_dict() and not list(prompt.parameters())


def test_a_template_without_place_for_the_name_is_refused(encoder):
    with pytest.raises(ValueError, match=r"no \{\} for the class name"):
        TemplatePrompt(NAMES, encoder, ["a {}", "a photo"])
