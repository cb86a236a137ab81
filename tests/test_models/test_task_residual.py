import pytest
import torch
from torch.nn import functional as F

from capnet_mm.models import CorrelationPromptHead, TaskResidual

NAMES = ["dog", "cat", "tv"]


@pytest.fixture
def head(tiny_clip):
    return CorrelationPromptHead(
        classes=NAMES,
        text_encoder=dict(model=tiny_clip),
        prompt=None,
        graph=None,
        gcn=dict(type="TaskResidual", alpha=0.5),
    )


def test_training_starts_at_the_words(head):
    embeddings = head.class_embeddings()
    torch.testing.assert_close(embeddings, F.normalize(head.prompt.features, dim=-1))


def test_the_class_embeddings_are_words_plus_alpha_times_the_residual(head):
    with torch.no_grad():
        head.gcn.residual.normal_(generator=torch.Generator().manual_seed(0))
    words = F.normalize(head.prompt.features, dim=-1)
    expected = words + 0.5 * head.gcn.residual
    expected = expected / expected.square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(head.class_embeddings(), expected)


def test_each_class_has_a_gradient_of_its_own(head):
    head((torch.randn(4, 16),))[:, 1].sum().backward()
    moved = head.gcn.residual.grad.abs().sum(1) > 0
    assert moved.tolist() == [False, True, False]


def test_a_checkpoint_for_the_classes_in_another_order_is_refused(head, tiny_clip):
    other = CorrelationPromptHead(
        classes=NAMES[::-1],
        text_encoder=dict(model=tiny_clip),
        prompt=None,
        graph=None,
        gcn=dict(type="TaskResidual"),
    )
    with pytest.raises(ValueError, match="in the same order"):
        other.load_state_dict(head.state_dict())


def test_new_words_have_no_residual(head):
    with torch.no_grad():
        head.gcn.residual.normal_(generator=torch.Generator().manual_seed(0))
    trained = head.eval().class_embeddings().detach().clone()
    head.set_classes(["kite", "cat"], context="words")
    words = head.text_encoder.encode_text(["a photo of a kite."])
    expected = torch.cat([F.normalize(words, dim=-1), trained[1:2]])
    torch.testing.assert_close(head.class_embeddings(), expected)


def test_the_residual_takes_the_features_data_type():
    residual = TaskResidual(dim=4, num_classes=2)
    assert residual(torch.zeros(2, 4, dtype=torch.float64), None).dtype is torch.float64
