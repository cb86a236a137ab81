import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from sklearn.preprocessing import StandardScaler

from capnet_mm.models import ImageFeatures, VisualBranch

NAMES = ["dog", "cat", "tv"]


def features_of(tower):
    return ImageFeatures(None, tower, None, tower)


def make_classifier(clip, **head):
    torch.manual_seed(0)
    head = dict(classes=NAMES, visual=dict(type="VisualBranch"), **head)
    return MODELS.build(
        dict(type="CLIPClassifier", clip=dict(model=clip), backbone={}, head=head)
    )


def test_it_is_a_linear_layer_on_features_standardised_over_the_training_images():
    generator = torch.Generator().manual_seed(0)
    tower = 3 + 5 * torch.randn(64, 8, generator=generator)
    branch = VisualBranch(num_classes=2, in_channels=8, momentum=1.0)
    torch.nn.init.normal_(branch.fc.weight, generator=generator)
    branch(features_of(tower))  # takes the statistics
    scores = branch.eval()(features_of(tower[:5])).detach().numpy()
    standard = StandardScaler().fit(tower.double()).transform(tower[:5].double())
    # Running variances have n - 1 in the denominator.
    standard *= np.sqrt(63 / 64)
    weight, bias = branch.fc.weight.detach(), branch.fc.bias.detach()
    np.testing.assert_allclose(scores, standard @ weight.numpy().T + bias.numpy(), 1e-3)


def test_training_starts_at_one_logit_for_all():
    scores = VisualBranch(2, 4, bias=-2.0)(features_of(torch.randn(6, 4)))
    torch.testing.assert_close(scores, torch.full((6, 2), -2.0))


def test_one_image_in_training_takes_the_running_statistics():
    branch = VisualBranch(2, 4)
    assert branch(features_of(torch.randn(1, 4))).isfinite().all()
    assert branch.norm.training


def test_another_width_is_told():
    with pytest.raises(ValueError, match="in_channels=5"):
        VisualBranch(2, 4)(features_of(torch.randn(3, 5)))


@pytest.mark.parametrize("vision", ["vit", "resnet", "timm", "timm_vit"])
def test_a_head_learns_the_towers_width_from_its_clip(vision, clips):
    size = dict(vit=32, resnet=64, timm=64, timm_vit=224)[vision]
    model = make_classifier(clips[vision]).eval()
    assert model.backbone.out_type == "features"
    with torch.no_grad():
        (features,) = model.extract_feat(torch.randn(2, 3, size, size))
    assert features.tower.shape[1] == model.head.text_encoder.image_width
    assert model.head((features,)).shape == (2, 3)


def test_each_branch_has_a_loss_of_its_own_that_leaves_the_other_alone(clips):
    loss = dict(type="CrossEntropyLoss", use_sigmoid=True)
    model = make_classifier(clips["vit"], loss=loss)
    feats = model.extract_feat(torch.randn(4, 3, 32, 32))
    samples = [DataSample().set_gt_label([index % 3]) for index in range(4)]
    losses = model.head.loss(feats, samples)
    assert set(losses) == {"loss", "loss_visual"}
    losses["loss_visual"].backward()
    assert model.head.logit_scale.grad is None
    assert model.head.other_evidence.visual.fc.bias.grad.abs().sum() > 0


def test_before_the_fusion_is_fitted_the_logits_add_up(clips):
    model = make_classifier(clips["vit"], prior={}).eval()
    with torch.no_grad():
        feats = model.extract_feat(torch.randn(4, 3, 32, 32))
        text, visual, _ = model.head.evidence(feats)
        torch.testing.assert_close(model.head(feats), text + visual)
