"""Class activation maps of a model in a runner are those of its head."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from capnet_mm.engine.class_maps import class_maps
from capnet_mm.models import TestTimeEnsemble

IMAGE = torch.randint(
    256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def make_model(clip, **head):
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    head = dict(classes=["dog", "cat", "tv"], prompt=None, gcn=None, **head)
    config = dict(type="CLIPClassifier", clip=dict(model=clip), backbone={}, head=head)
    return MODELS.build(config).eval()


@pytest.mark.parametrize("wrap", [lambda model: model, TestTimeEnsemble])
def test_maps_are_the_shares_that_make_the_score(clips, wrap):
    model = make_model(clips["timm"], pooling=dict(temperature=0.2))
    maps = class_maps(wrap(model), IMAGE, np.array([2, 0]))
    assert list(maps) == [2, 0]
    with torch.no_grad():
        inputs = model.data_preprocessor(dict(inputs=[IMAGE]))["inputs"]
        (features,) = model.extract_feat(inputs)
        z, places = model.head.class_embeddings(), features.map[0].flatten(1).mT
        cosines = torch.nn.functional.normalize(places, dim=-1) @ z.T
        for index, heat in maps.items():
            assert heat.shape == (2, 2)
            expected = (cosines[:, index] / 0.2).softmax(0)
            np.testing.assert_allclose(heat.ravel(), expected, atol=1e-5)


def test_models_that_do_not_pool_locally_have_none(clips):
    assert class_maps(make_model(clips["timm"]), IMAGE, np.array([0])) == {}
    assert class_maps(torch.nn.Linear(1, 1), IMAGE, np.array([0])) == {}


def test_a_model_whose_weights_processes_share_is_left_alone(clips):
    model = make_model(clips["timm"], pooling=dict())
    model.head.logit_scale._fsdp_flattened = True  # as FSDP marks its parameters
    assert class_maps(model, IMAGE, np.array([0])) == {}
