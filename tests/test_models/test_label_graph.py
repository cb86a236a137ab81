import numpy as np
import pytest
import torch

from capnet_mm.models import LabelGraph, ResidualGCN
from capnet_mm.models.label_graph import TopKAdjacency, label_adjacency


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
    result = label_adjacency(features, k, 0.3, tau, center).dense()
    expected = reference_adjacency(features, k, 0.3, tau, center)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(result.sum(1).numpy(), 1, atol=1e-6)


def test_uncentred_real_clip_features_give_a_nearly_uniform_graph(shared_dir):
    """The caution of the method's description, and what centring does to it."""
    data = np.load(shared_dir / "reference" / "clip_text_vitb32.npz")
    names = list(data["names"])
    classes = "dog cat horse sheep cow person chair car bottle bird".split()
    features = torch.tensor(data["embeddings"][[names.index(c) for c in classes]])
    raw = label_adjacency(features, topk=10).dense()
    off_diagonal = raw[~torch.eye(10, dtype=torch.bool)]
    assert off_diagonal.max() / off_diagonal.min() < 1.5
    sharp = label_adjacency(features, topk=10, temperature=0.1, center=True).dense()
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


def test_many_classes_are_multiplied_entry_by_entry_with_the_same_result():
    generator = torch.Generator().manual_seed(0)
    names = torch.randn(50, 8, generator=generator)
    graph = LabelGraph(names, topk=4, neighbor_weight=0.5)
    assert isinstance(graph(), TopKAdjacency)
    torch.manual_seed(0)
    gcn = ResidualGCN(8, zero_init=False)
    results = []
    for adjacency in (graph(), graph.adjacency):
        features = torch.randn(50, 8, generator=generator.manual_seed(1))
        features.requires_grad_()
        residual = gcn(features, adjacency)
        gcn.zero_grad()
        residual.square().sum().backward()
        results.append((residual, features.grad, gcn.layer1.weight.grad))
    for sparse, dense in zip(*results, strict=True):
        torch.testing.assert_close(sparse, dense)
    assert not graph.weights.requires_grad


def test_few_classes_have_the_whole_matrix():
    graph = LabelGraph(torch.randn(16, 4), topk=2)
    assert torch.equal(graph(), graph.adjacency)
    assert graph.adjacency.shape == (16, 16)


def test_adjacency_does_not_depend_on_the_chunks(monkeypatch):
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    whole = label_adjacency(features, 5).dense()
    monkeypatch.setattr("capnet_mm.models.label_graph._CHUNK_ENTRIES", 120)
    torch.testing.assert_close(label_adjacency(features, 5).dense(), whole)


def test_product_with_entries_is_float32_under_autocast():
    graph = LabelGraph(torch.randn(50, 4), topk=3)
    features = torch.randn(50, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (graph() @ features).dtype == torch.float32
