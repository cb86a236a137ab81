import numpy as np
import torch

from capnet_mm.models import IdentityGraph, ResidualGCN, ZeroResidual


def test_residual_equals_the_formula():
    torch.manual_seed(0)
    gcn = ResidualGCN(dim=4, gamma=0.5, zero_init=False)
    features, adjacency = torch.randn(3, 4), torch.rand(3, 3)
    x = features.numpy()
    a = adjacency.numpy()
    for index, layer in enumerate((gcn.layer1, gcn.layer2, gcn.layer3)):
        x = a @ x @ layer.weight.detach().numpy().T
        if index < 2:
            x = np.where(x > 0, x, 0.2 * x)
    result = gcn(features, adjacency).detach().numpy()
    np.testing.assert_allclose(result, 0.5 * x, rtol=1e-5, atol=1e-6)
    assert gcn.layer1.weight.shape == (8, 4)
    assert gcn.layer2.weight.shape == (8, 8)
    assert gcn.layer3.weight.shape == (4, 8)


def test_no_graph_treats_each_class_alone():
    torch.manual_seed(0)
    gcn = ResidualGCN(dim=4, zero_init=False)
    features = torch.randn(3, 4)
    alone = gcn(features, IdentityGraph()())
    torch.testing.assert_close(alone, gcn(features, torch.eye(3)))
    torch.testing.assert_close(alone[1:2], gcn(features[1:2], IdentityGraph()()))


def test_residual_starts_at_zero_and_learns():
    gcn = ResidualGCN(dim=4)
    features = torch.randn(3, 4)
    residual = gcn(features, torch.eye(3))
    assert torch.equal(residual, torch.zeros(3, 4))
    (residual - 1).square().sum().backward()
    assert gcn.layer3.weight.grad.abs().sum() > 0


def test_gamma_is_trained_only_if_asked():
    fixed, learned = ResidualGCN(4), ResidualGCN(4, gamma=0.3, learnable_gamma=True)
    assert "gamma" not in dict(fixed.named_parameters())
    assert float(dict(learned.named_parameters())["gamma"]) == np.float32(0.3)


def test_the_residual_that_is_switched_off_is_zero_and_trains_nothing():
    residual = ZeroResidual(dim=4)
    features = torch.randn(3, 4)
    assert torch.equal(residual(features, torch.eye(3)), torch.zeros(3, 4))
    assert not list(residual.parameters())
