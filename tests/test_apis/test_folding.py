"""A folded model scores as before, and what goes with it is told."""

import copy
import json

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS

from capnet_mm.apis import MultiLabelInferencer
from capnet_mm.apis.folding import FoldedModel, check, describe, prepare
from capnet_mm.evaluation.stored_calibration import StoredCalibration

from .exporting import CLASSES, SIZES, make_inferencer


def refuse(*args, **kwargs):
    raise AssertionError("the text branch is computed")


@pytest.mark.parametrize("tower", ["vit", "timm", "resnet", "mixed"])
def test_a_folded_model_scores_as_before_without_its_text_branch(
    clips, tower, monkeypatch
):
    model = make_inferencer(clips, tower).model
    images = torch.randn(3, 3, SIZES[tower], SIZES[tower])
    with torch.no_grad():
        expected = copy.deepcopy(model)(images)
        folded = FoldedModel(model)
        monkeypatch.setattr(model.head.text_encoder, "forward", refuse)
        probabilities, logits = folded(images)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(probabilities, expected.sigmoid(), rtol=0, atol=1e-5)
    names = " ".join(name for name, _ in folded.named_parameters())
    assert "lora" not in names and "scale_shift" not in names


@pytest.mark.parametrize("tower", ["vit", "mixed"])
def test_a_model_that_normalises_takes_the_pictures_own_colours(clips, tower, pictures):
    inferencer = make_inferencer(clips, tower)
    prepared = prepare(inferencer, pictures, normalize=True)
    assert torch.equal(prepared.images, prepared.images.round())
    assert prepared.images.max() > 50
    with torch.no_grad():
        _, logits = prepared.model(prepared.images)
    torch.testing.assert_close(logits, prepared.expected["logits"], rtol=0, atol=1e-4)
    assert prepared.metadata["preprocessing"]["mean"] == [0, 0, 0]


def test_probabilities_are_the_inferencers_calibrated_ones(clips, pictures):
    inferencer = make_inferencer(clips, "timm")
    scale, bias = np.array([2.0, 1.0, 0.5]), np.array([0.1, -0.2, 0.3])
    thresholds = np.array([0.2, 0.3, 0.4])
    inferencer.calibration = StoredCalibration(CLASSES, scale, bias, thresholds)
    expected = np.stack([each["pred_scores"] for each in inferencer(pictures)])
    prepared = prepare(inferencer, pictures)
    with torch.no_grad():
        probabilities, logits = prepared.model(prepared.images)
    np.testing.assert_allclose(probabilities.numpy(), expected, atol=1e-6)
    by_hand = 1 / (1 + np.exp(-(scale * logits.numpy() + bias)))
    np.testing.assert_allclose(probabilities.numpy(), by_hand, atol=1e-6)
    assert prepared.metadata["thresholds"] == [0.2, 0.3, 0.4]
    assert prepared.metadata["calibration"]["scale"] == [2.0, 1.0, 0.5]


def test_a_clip_without_training_gives_shares(clips, pictures):
    clip = clips["vit_224"]
    inferencer = MultiLabelInferencer(clip=clip, classes=["dog", "cat"], device="cpu")
    prepared = prepare(inferencer, pictures)
    with torch.no_grad():
        probabilities, logits = prepared.model(prepared.images)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, shares, atol=1e-6)
    np.testing.assert_allclose(probabilities, prepared.expected["output"], atol=1e-5)


def test_metadata_say_what_users_need_and_not_where_the_clip_lies(checkpoint, clips):
    inferencer = MultiLabelInferencer(checkpoint, device="cpu")
    found = json.loads(json.dumps(describe(inferencer, (224, 224))))
    assert found["classes"] == ["dog", "cat", "tvmonitor"]
    assert found["prompt_names"] == ["dog", "cat", "tv"]
    assert found["groups"] == ["head", "medium", "tail"]
    assert found["thresholds"] == [0.5, 0.5, 0.5]
    preprocessing = found["preprocessing"]
    assert preprocessing["color"] == "RGB" and preprocessing["size"] == [224, 224]
    np.testing.assert_allclose(preprocessing["mean"], [127.5, 102, 76.5], rtol=1e-6)
    assert [step["type"] for step in preprocessing["pipeline"]][0] == "LoadImage"
    folder = clips["vit_224"].rpartition(":")[2]
    assert folder not in json.dumps(found)
    assert found["clip"]["model"] == "local-dir:vit_224"


def test_the_fingerprint_is_the_frozen_weights(clips):
    def fingerprint(tower):
        inferencer = make_inferencer(clips, tower)
        return describe(inferencer, (32, 32))["clip"]["fingerprint"]

    assert fingerprint("vit") == fingerprint("vit")
    assert fingerprint("vit") != fingerprint("timm")


@pytest.fixture(scope="module")
def prepared(clips, tmp_path_factory):
    from PIL import Image

    path = tmp_path_factory.mktemp("one") / "a.png"
    Image.new("RGB", (40, 40), "red").save(path)
    inferencer = make_inferencer(clips, "timm", pooling={})
    return prepare(inferencer, [str(path)] * 2, maps=True)


def test_a_file_that_gives_the_same_is_let_pass(prepared):
    found = dict(prepared.expected, logits=prepared.expected["logits"] + 5e-5)
    report = check(prepared, found)
    assert report["pictures"] == 2 and report["same_topk"] == 1
    assert report["max_difference"] == pytest.approx(5e-5, rel=0.01)


@pytest.mark.parametrize("wrong", ["logits", "output", "maps", "NaN", "ranking"])
def test_a_file_that_gives_something_else_is_refused(prepared, wrong):
    found = {name: each.clone() for name, each in prepared.expected.items()}
    tolerance = 1e-4
    if wrong == "NaN":
        found["logits"][0, 1] = float("nan")
    elif wrong == "ranking":
        found["logits"], tolerance = -found["logits"], 100.0
    else:
        found[wrong][1, 2] += 2e-4
    with pytest.raises(ValueError, match="Nothing was written"):
        check(prepared, found, tolerance)


@pytest.mark.parametrize("tower", ["vit", "timm", "resnet", "pooled"])
def test_maps_are_the_heads_and_need_local_pooling(clips, tower, pictures):
    if tower == "pooled":
        model = make_inferencer(clips, "timm").model
        with pytest.raises(ValueError, match="Maps need a head with local pooling"):
            FoldedModel(model, maps=True)
        return
    prepared = prepare(
        make_inferencer(clips, tower, pooling=dict(weight=0.5)), pictures, maps=True
    )
    with torch.no_grad():
        probabilities, logits, maps = prepared.model(prepared.images)
    assert maps.shape[:2] == (5, 3)
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(5, 3))
    found = dict(output=probabilities, logits=logits, maps=maps)
    assert check(prepared, found)["same_topk"] == 1


def test_pictures_that_cannot_be_read_check_nothing(clips, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="Name pictures that can be read"):
        prepare(make_inferencer(clips, "timm"), [str(broken)])


def test_a_head_for_one_label_an_image_is_refused(clips):
    model = make_inferencer(clips, "mixed").model
    model.head = MODELS.build(dict(type="LinearClsHead", num_classes=3, in_channels=64))
    with pytest.raises(ValueError, match="LinearClsHead gives one label"):
        FoldedModel(model)
