import pytest
import torch
from mmpretrain.models.heads import CSRAClsHead
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from capnet_mm.models import PartialLabelCSRAHead

LOSS = dict(type="CrossEntropyLoss", use_sigmoid=True)


def test_it_reads_the_towers_map_of_a_clip_as_mmpretrains_head_reads_a_map(tiny_clip):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="CLIPClassifier",
            clip=dict(model=tiny_clip),
            backbone={},
            head=dict(
                type="PartialLabelCSRAHead",
                classes=["dog", "cat"],
                in_channels=32,
                num_heads=2,
                loss=LOSS,
            ),
        )
    ).eval()
    theirs = CSRAClsHead(2, 32, num_heads=2, lam=0.1, loss=LOSS)
    theirs.load_state_dict(model.head.state_dict())
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        features = model.backbone(images)[-1]
        assert features.tower_map.shape == (3, 32, 4, 4)
        expected = theirs((features.tower_map,))
        torch.testing.assert_close(model(images), expected)
        torch.testing.assert_close(model.head((features.tower_map,)), expected)


def test_unknown_labels_have_no_gradient():
    torch.manual_seed(0)
    head = PartialLabelCSRAHead(classes=["dog", "cat"], in_channels=4, loss=LOSS)
    sample = DataSample().set_gt_score(torch.tensor([1.0, -1.0]))
    head.loss((torch.randn(1, 4, 2, 2),), [sample])["loss"].backward()
    gradient = head.csra_heads[0].head.weight.grad
    assert gradient[0].norm() > 0
    assert gradient[1].norm() == pytest.approx(0, abs=1e-9)
