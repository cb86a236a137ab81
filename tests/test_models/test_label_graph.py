import numpy as np
import pytest
import torch

from capnet_mm.models import LabelGraph
from capnet_mm.models.label_graph import label_adjacency


def reference_adjacency(features, k, s, tau=None, center=False):
    """The formula with loops, in float64."""
    features = np.asarray(features, dtype=np.float64)
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    if center:
        features = features - features.mean(0)
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    num_classes = len(features)
    adjacency = np.zeros((num_classes, num_classes))
    for i in range(num_classes):
        cosine = features @ features[i]
        others = [j for j in np.argsort(-cosine, kind="stable") if j != i][: k - 1]
        for j in others:
            weight = max(cosine[j], 0) if tau is None else np.exp(cosine[j] / tau)
            adjacency[i, j] = weight
        total = adjacency[i].sum()
        if total > 0:
            adjacency[i] *= s / total
        adjacency[i, i] = 1 - adjacency[i].sum()
    return adjacency


@pytest.mark.parametrize("tau", [None, 0.05, 1.0])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("k", [1, 3, 9, 50])
def test_adjacency_equals_the_formula(tau, center, k):
    features = torch.randn(9, 6, generator=torch.Generator().manual_seed(k)) * 3
    result = label_adjacency(features, k, 0.3, tau, center)
    expected = reference_adjacency(features, k, 0.3, tau, center)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(result.sum(1).numpy(), 1, atol=1e-6)


def test_uncentred_real_clip_features_give_a_nearly_uniform_graph(shared_dir):
    """The caution of the method's description, and what centring does to it."""
    data = np.load(shared_dir / "reference" / "clip_text_vitb32.npz")
    names = list(data["names"])
    classes = "dog cat horse sheep cow person chair car bottle bird".split()
    features = torch.tensor(data["embeddings"][[names.index(c) for c in classes]])
    raw = label_adjacency(features, topk=10)
    off_diagonal = raw[~torch.eye(10, dtype=torch.bool)]
    assert off_diagonal.max() / off_diagonal.min() < 1.5
    sharp = label_adjacency(features, topk=10, temperature=0.1, center=True)
    off_diagonal = sharp[~torch.eye(10, dtype=torch.bool)]
    assert off_diagonal.max() / off_diagonal.min() > 20


def test_wrong_settings_are_named():
    features = torch.eye(4)
    with pytest.raises(ValueError, match="topk"):
        label_adjacency(features, 0)
    with pytest.raises(ValueError, match="neighbor_weight"):
        label_adjacency(features, 2, 1.5)
    with pytest.raises(ValueError, match="temperature"):
        label_adjacency(features, 2, temperature=0)


def test_graph_has_nothing_to_save_or_train():
    graph = LabelGraph(torch.randn(5, 4), topk=3)
    assert graph.state_dict() == {}
    assert list(graph.parameters()) == []
    assert graph().shape == (5, 5)
