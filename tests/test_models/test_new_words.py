"""Classes that the head was not trained for: what they are made of, when they end."""

import logging
import math

import pytest
import torch
from mmengine.logging import MMLogger
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn import functional as F

from capnet_mm.models import CorrelationPromptHead
from capnet_mm.models.heads.new_words import find_trained
from capnet_mm.models.label_graph import label_adjacency

NAMES = ("dog", "cat", "diningtable", "tv")
WORDS = ("dog", "cat", "dining table", "tv")
NEW = ("umbrella", "red kite")


@pytest.fixture
def make_head(tiny_clip):
    """A head whose trained weights are random, so that each part counts."""

    def make(**options):
        torch.manual_seed(0)
        options = {
            "classes": dict(classes=NAMES, prompt_names=WORDS),
            "prompt": dict(num_context=3),
            "graph": dict(topk=3, neighbor_weight=0.4),
            "gcn": dict(gamma=0.5),
            "bias": -1.5,
            "loss": dict(type="CrossEntropyLoss", use_sigmoid=True),
            **options,
        }
        head = CorrelationPromptHead(text_encoder=dict(model=tiny_clip), **options)
        for parameter in head.parameters():
            if parameter.requires_grad and parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.1)
        return head.eval()

    return make


@pytest.fixture
def feats():
    return (torch.randn(5, 16, generator=torch.Generator().manual_seed(1)),)


@torch.no_grad()
def score(head, feats):
    return head(feats)


def text_features(head, context, words):
    """Prompts [SOS] context words . [EOS], encoded without SoftPrompt."""
    encoder, rows = head.text_encoder, []
    for word in words:
        ids, _ = encoder.tokenize([f"{word}."])
        tokens = encoder.token_embedding(ids[0])
        tokens = torch.cat([tokens[:1], context, tokens[1:]])[None]
        rows.append(encoder(tokens, torch.tensor([tokens.shape[1] - 1]))[0])
    return F.normalize(torch.stack(rows), dim=-1)


@torch.no_grad()
def expected_embeddings(head, context):
    """z of the new words, from the definitions of prompts, graph and GCN."""
    encoder = head.text_encoder
    templates = encoder.encode_text([f"a photo of a {w}." for w in (*WORDS, *NEW)])
    if context == "mean":
        new = text_features(head, head.prompt.context.mean(0), NEW)
    else:
        new = F.normalize(templates[4:], dim=-1)
    old = torch.cat(
        [
            text_features(head, v, [w])
            for v, w in zip(head.prompt.context, WORDS, strict=True)
        ]
    )
    f = torch.cat([old, new])
    a = label_adjacency(templates, topk=3, neighbor_weight=0.4).dense()
    h = f
    for layer in (head.gcn.layer1, head.gcn.layer2):
        h = F.leaky_relu(a @ h @ layer.weight.T, 0.2)
    z = F.normalize(f + 0.5 * a @ h @ head.gcn.layer3.weight.T, dim=-1)
    return z[4:]


@pytest.mark.parametrize("context", ["mean", "words"])
def test_new_words_get_a_shared_context_join_the_graph_and_pass_the_gcn(
    make_head, feats, context
):
    head = make_head()
    before = score(head, feats)
    head.set_classes(["umbrella", "cat", "red kite"], context=context, graph=True)
    after = score(head, feats)
    z = expected_embeddings(head, context)
    cosines = F.normalize(feats[0], dim=-1) @ z.T
    expected = cosines / float(head.temperature) - 1.5
    torch.testing.assert_close(after[:, [0, 2]], expected.detach())
    # A class of training keeps what was trained.
    torch.testing.assert_close(after[:, 1], before[:, 1])


@torch.no_grad()
def test_without_the_graph_new_words_are_their_prompts_alone(make_head):
    head = make_head()
    head.set_classes(NEW, context="mean", graph=False)
    mean = text_features(head, head.prompt.context.mean(0), NEW)
    torch.testing.assert_close(head.class_embeddings(), mean)
    head.set_classes(NEW, context="words", graph=False)
    words = head.text_encoder.encode_text([f"a photo of a {word}." for word in NEW])
    torch.testing.assert_close(head.class_embeddings(), F.normalize(words, dim=-1))


def test_predictions_name_the_new_classes(make_head, feats):
    head = make_head()
    head.set_classes(["umbrella", "dog", "red kite", "boat", "tv"])
    assert head.num_classes == 5
    with torch.no_grad():
        (sample, *_) = head.predict(feats, [DataSample() for _ in range(5)])
    assert sample.pred_classes == ("umbrella", "dog", "red kite", "boat", "tv")
    assert sample.pred_score.shape == (5,)


@pytest.mark.parametrize("classes", [NAMES, list(NAMES), dict(classes=NAMES)])
def test_the_classes_of_training_restore_exactly_what_was_trained(
    make_head, feats, classes
):
    head = make_head()
    before = score(head, feats)
    head.set_classes(NEW)
    assert score(head, feats).shape == (5, 2)
    head.set_classes(classes)
    assert torch.equal(score(head, feats), before)
    assert head.classes == NAMES and head.frozen_class_embeddings is None


def test_a_part_of_the_trained_classes_in_another_order_scores_the_same(
    make_head, feats
):
    head = make_head()
    before = score(head, feats)
    head.set_classes(["tv", "dog"])
    torch.testing.assert_close(score(head, feats), before[:, [3, 0]])


def test_a_class_of_training_is_found_by_its_words_too():
    found = find_trained(("dining table", "diningtable", "cup", "dog"), NAMES, WORDS)
    assert found == (2, 2, None, 0)


@pytest.mark.parametrize("end", ["train", "load", "load into the model"])
def test_training_and_loading_end_new_words_and_say_so(make_head, feats, caplog, end):
    head = make_head()
    before, weights = score(head, feats), head.state_dict()
    head.set_classes(NEW)
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    if end == "train":
        head.train()
        head.eval()
    elif end == "load":
        head.load_state_dict(weights)
    else:
        model = nn.ModuleDict(dict(head=head))
        model.load_state_dict({f"head.{key}": each for key, each in weights.items()})
    logger.removeHandler(caplog.handler)
    assert head.classes == NAMES
    assert torch.equal(score(head, feats), before)
    messages = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
    assert "its 4 classes of training again, not the 2 of set_classes" in messages[0]


def test_other_words_in_place_of_new_ones_are_not_told_as_their_end(make_head, caplog):
    head = make_head()
    head.set_classes(NEW)
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    head.set_classes(["cup"])
    logger.removeHandler(caplog.handler)
    assert head.classes == ("cup",) and not caplog.records


def test_evaluation_mode_keeps_new_words(make_head):
    head = make_head()
    head.set_classes(NEW)
    assert head.eval().classes == NEW
    head.freeze_classes()  # they are fixed already
    assert head.classes == NEW and len(head.class_embeddings()) == 2


def test_a_state_dict_is_that_of_training_whatever_the_words(make_head):
    head = make_head()
    before = head.state_dict()
    head.set_classes(NEW)
    after = head.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_new_words_need_no_gradient_and_survive_inference_mode(make_head, feats):
    head = make_head()
    with torch.inference_mode():
        head.set_classes(NEW)
    image = feats[0].clone().requires_grad_()
    head((image,)).sum().backward()  # to the image alone
    assert image.grad.abs().sum() > 0 and math.isfinite(float(image.grad.sum()))


@pytest.mark.parametrize("off", ["prompt", "graph", "gcn"])
def test_parts_that_are_switched_off_stay_off(make_head, feats, off):
    head = make_head(**{off: None})
    before = score(head, feats)
    head.set_classes([*NAMES, *NEW], graph=True)
    after = score(head, feats)
    assert after.shape == (5, 6)
    torch.testing.assert_close(after[:, :4], before)


def test_a_shared_context_is_the_new_words_too(make_head):
    head = make_head(prompt=dict(num_context=3, class_specific=False), gcn=None)
    head.set_classes(NEW)
    expected = text_features(head, head.prompt.context, NEW)
    torch.testing.assert_close(head.class_embeddings(), expected.detach())


def test_what_cannot_be_done_is_said(make_head):
    head = make_head()
    with pytest.raises(ValueError, match="context='max': expected one of"):
        head.set_classes(NEW, context="max")
    with pytest.raises(ValueError, match="repeated"):
        head.set_classes(["cup", "cup"])
    head.graph = nn.Identity()
    head.graph.forward = lambda: torch.eye(4)
    with pytest.raises(ValueError, match="graph, Identity, has no method `extended`"):
        head.set_classes(NEW, graph=True)
