import open_clip
import pytest
import torch

from capnet_mm.models import CLIPTextEncoder, SoftPrompt

NAMES = ["dog", "dining table", "tv"]


@pytest.fixture(scope="module")
def encoder(tiny_clip):
    return CLIPTextEncoder(tiny_clip)


def test_prompt_from_words_equals_the_hand_written_prompt(encoder, tiny_clip):
    prompt = SoftPrompt(NAMES, encoder, init_words="a photo of a")
    assert prompt.num_context == 4
    clip = open_clip.create_model(tiny_clip).eval()
    ids = open_clip.get_tokenizer(tiny_clip)([f"a photo of a {n}." for n in NAMES])
    with torch.no_grad():
        torch.testing.assert_close(prompt(encoder), clip.encode_text(ids))


def test_random_context_stands_between_start_and_name(encoder):
    torch.manual_seed(0)
    prompt = SoftPrompt(NAMES, encoder, num_context=16)
    embeddings, eos_index = prompt.assemble()
    ids, name_eos = encoder.tokenize([f"{n}." for n in NAMES])
    fixed = encoder.token_embedding(ids)
    assert prompt.context.shape == (3, 16, 32)
    assert abs(float(prompt.context.std()) - 0.02) < 2e-3
    assert torch.equal(embeddings[:, 0], fixed[:, 0])
    assert torch.equal(embeddings[:, 1:17], prompt.context)
    assert torch.equal(embeddings[:, 17:], fixed[:, 1:])
    assert torch.equal(eos_index, name_eos + 16)


def test_shared_context_moves_all_classes_and_specific_context_one(encoder):
    shared = SoftPrompt(NAMES, encoder, num_context=2, class_specific=False)
    assert shared.context.shape == (2, 32)
    specific = SoftPrompt(NAMES, encoder, num_context=2)
    for prompt, moved in ((shared, [0, 1, 2]), (specific, [1])):
        with torch.no_grad():
            before = prompt(encoder)
            moved_part = prompt.context if prompt is shared else prompt.context[1]
            moved_part.add_(torch.randn(2, 32))
            changed = (prompt(encoder) - before).abs().amax(1) > 1e-4
        assert changed.nonzero().flatten().tolist() == moved


def test_gradient_reaches_the_context_only(encoder):
    prompt = SoftPrompt(NAMES, encoder, num_context=2)
    prompt(encoder).sum().backward()
    assert prompt.context.grad.abs().sum() > 0
    assert all(p.grad is None for p in encoder.parameters())


def test_too_long_prompts_name_the_class(encoder):
    with pytest.raises(ValueError, match="dining table.*Lower num_context"):
        SoftPrompt(NAMES, encoder, num_context=73)
    with pytest.raises(ValueError, match="prompt=None"):
        SoftPrompt(NAMES, encoder, num_context=0)


def test_checkpoint_for_other_classes_is_refused(encoder):
    saved = SoftPrompt(NAMES, encoder).state_dict()
    other = SoftPrompt(["dog", "cat"], encoder)
    before = other.context.clone()
    with pytest.raises(ValueError, match=r"\(3, 16, 32\).*\(2, 16, 32\)"):
        other.load_state_dict(saved)
    assert torch.equal(other.context, before)


@pytest.mark.parametrize("class_specific", [False, True])
def test_prompts_start_with_as_many_same_tokens_as_they_say(tiny_clip, class_specific):
    encoder = CLIPTextEncoder(tiny_clip)
    names = ["dog", "dining table"]
    prompt = SoftPrompt(names, encoder, 3, class_specific=class_specific)
    first, second = prompt.assemble()[0]
    same = (first == second).all(-1).long()
    assert prompt.num_shared == same.cumprod(0).sum() == (1 if class_specific else 4)
