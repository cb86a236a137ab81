"""Classes that a trained head is asked about and was not trained for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..image_features import ImageFeatures
from ..template_prompt import TemplatePrompt

# What stands before a new name: the trained contexts' mean, or the head's template.
CONTEXTS = ("mean", "words")


@dataclass(frozen=True)
class WordList:
    """Classes to score, among them ones that the head was trained for.

    Attributes:
        names: The K names.
        trained: For each of them its index among the classes of training; None for a
            new one.
        embeddings: z, (K, d), of unit length.
    """

    names: tuple[str, ...]
    trained: tuple[int | None, ...]
    embeddings: Tensor


def find_trained(
    names: Sequence[str], classes: Sequence[str], prompt_names: Sequence[str]
) -> tuple[int | None, ...]:
    """Find the classes that training knew, by their name or their words in prompts.

    Args:
        names: The K names.
        classes: Names of the classes of training.
        prompt_names: Their words in prompts.

    Returns:
        For each name the index of its class, None if it is new.
    """
    places = {name: index for index, name in enumerate(prompt_names)}
    places |= {name: index for index, name in enumerate(classes)}
    return tuple(places.get(name) for name in names)


@torch.no_grad()
def embed_words(
    head: nn.Module,
    names: Sequence[str],
    prompt_names: Sequence[str],
    context: str,
    graph: bool,
) -> WordList:
    r"""Embed classes for a trained :class:`~capnet_mm.models.CorrelationPromptHead`.

    A class of training keeps its :math:`z_c`, computed in the graph of training. The
    new ones have prompts of a context that no class owns, and
    :math:`z = \mathrm{norm}(f)`, or, in the graph,
    :math:`z = \mathrm{norm}(f + \mathrm{GCN}(A', F'))`, where A' and F' are the
    graph and the features of the trained and the new classes together.

    Args:
        head: The head, in eval mode.
        names: Names of the K classes.
        prompt_names: Their words in prompts.
        context: ``'mean'``, the mean of the trained contexts, or ``'words'``, the
            head's template.
        graph: Whether the new classes join the graph; else they have no residual.

    Returns:
        The classes.

    Raises:
        ValueError: For another context; or the head's graph or prompt cannot be
            extended.
    """
    if context not in CONTEXTS:
        raise ValueError(f"context={context!r}: expected one of {CONTEXTS}.")
    trained = find_trained(names, head.trained_classes, head.prompt_names)
    of_training = head.compute_class_embeddings()  # (C, d)
    new = [place for place, index in enumerate(trained) if index is None]
    embeddings = of_training.new_empty(len(names), of_training.shape[1])
    for place, index in enumerate(trained):
        if index is not None:
            embeddings[place] = of_training[index]
    if new:
        words = [prompt_names[place] for place in new]
        embeddings[new] = _embed_new(head, words, context, graph)
    return WordList(tuple(names), trained, embeddings)


def score_words(head: nn.Module, features: ImageFeatures, words: WordList) -> Tensor:
    """Score images for a list of words.

    Classes of training have all their evidence. A new one has its text alone, which is
    put on the scale of the others.

    Args:
        head: The head that embedded the words.
        features: Of B images, in the joint space.
        words: K classes.

    Returns:
        Logits, (B, K).
    """
    places = [place for place, index in enumerate(words.trained) if index is not None]
    indices = [words.trained[place] for place in places]
    bias = head.logit_bias.mean().repeat(len(words.names))
    bias[places] = head.logit_bias.expand(len(head.trained_classes))[indices]
    text = head.cosine_logits(features, words.embeddings, bias)
    logits = head.fusion.of_new_classes(text[None])
    if places:
        others = [part(features)[:, indices] for part in head.other_evidence.values()]
        evidence = torch.stack([text[:, places], *others])
        logits[:, places] = head.fusion(evidence, torch.tensor(indices))
    return logits


def _embed_new(
    head: nn.Module, words: Sequence[str], context: str, graph: bool
) -> Tensor:
    """Class embeddings of new classes alone, (K', d)."""
    encoder = head.text_encoder
    by_hand = TemplatePrompt(words, encoder, head.template)
    prompt = by_hand
    if context == "mean":
        prompt = _extensible(head.prompt, "prompt").extended(words, encoder)
    new = _unit(prompt(encoder))
    # Residuals that each class has of its own are none for new classes.
    if not graph or getattr(head.gcn, "class_specific", False):
        return new
    adjacency = _extensible(head.graph, "graph").extended(by_hand.features)()
    features = torch.cat([_unit(head.prompt(encoder)), new])  # (C + K', d)
    return F.normalize(features + head.gcn(features, adjacency), dim=-1)[-len(words) :]


def _unit(features: Tensor) -> Tensor:
    """To unit length, in single precision at least."""
    dtype = torch.promote_types(features.dtype, torch.float32)
    return F.normalize(features.to(dtype), dim=-1)


def _extensible(part: nn.Module, name: str) -> nn.Module:
    if not hasattr(part, "extended"):
        raise ValueError(
            f"The head's {name}, {type(part).__name__}, has no method `extended`, by "
            "which it would take new classes: give it one, as capnet_mm.models' "
            "LabelGraph and SoftPrompt have, or set context='words' and graph=False."
        )
    return part
