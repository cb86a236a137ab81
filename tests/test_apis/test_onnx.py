"""ONNX files say what the model says, in ONNX Runtime."""

import importlib.util
import json
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest

from capnet_mm.apis import onnx as export
from capnet_mm.apis.onnx import export_onnx, to_onnx

from .exporting import CLASSES, make_inferencer

TOWERS = ("vit", "resnet", "mixed")


@pytest.fixture(scope="module")
def exported_from(clips, pictures, tmp_path_factory):
    """Exports the model of a tower, once.

    Gives what the inferencer said, the folder of the files, and what was reported.
    """

    @cache
    def exported(tower):
        pooling = {} if tower == "vit" else None
        inferencer = make_inferencer(clips, tower, pooling)
        expected = np.stack([each["pred_scores"] for each in inferencer(pictures)])
        folder = tmp_path_factory.mktemp(tower) / "export"
        options = dict(
            normalize=tower != "vit", int8=tower != "resnet", maps=tower == "vit"
        )
        return expected, folder, export_onnx(inferencer, pictures, folder, **options)

    return exported


@pytest.fixture(params=TOWERS)
def exported(request, exported_from):
    return exported_from(request.param)


def session_of(folder):
    return onnxruntime.InferenceSession(str(folder / "end2end.onnx"))


def test_the_file_stands_alone_and_takes_any_batch(exported):
    _, folder, reports = exported
    files = {f"{name}.{suffix}" for name in reports for suffix in ("json", "onnx")}
    assert {path.name for path in folder.iterdir()} == files
    report = reports["end2end"]
    assert report["max_difference"] <= 1e-4 and report["pictures"] == 5
    session = session_of(folder)
    (given,), outputs = session.get_inputs(), session.get_outputs()
    assert given.name == "input" and given.type == "tensor(float)"
    assert isinstance(given.shape[0], str) and given.shape[1] == 3
    names = [output.name for output in outputs]
    assert names[:2] == ["output", "logits"] and names[2:] in ([], ["maps"])
    images = np.random.default_rng(0).random((7, *given.shape[1:]), np.float32)
    together = session.run(["logits"], {"input": images})[0]
    alone = [session.run(["logits"], {"input": each[None]})[0] for each in images]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-4)
    assert together.shape == (7, len(CLASSES))


def test_metadata_are_in_the_file_and_beside_it(exported):
    _, folder, _ = exported
    stored = session_of(folder).get_modelmeta().custom_metadata_map
    inside = {key: json.loads(value) for key, value in stored.items()}
    beside = json.loads((folder / "end2end.json").read_text())
    assert beside.pop("checked")["pictures"] == 5
    assert inside == beside and inside["classes"] == CLASSES


def test_pictures_read_with_pillow_score_as_in_the_inferencer(exported, pictures):
    """The example's own reading, resizing and normalising."""

    from conftest import REPOSITORY

    path = REPOSITORY / "tools" / "onnx_example.py"
    spec = importlib.util.spec_from_file_location("onnx_example", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    expected, folder, _ = exported
    session = session_of(folder)
    how = json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"])
    images = np.stack([example.prepare(path, **how) for path in pictures])
    found = session.run(["output"], {"input": images})[0]
    # Pillow's filters have other roundings.
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_the_file_of_another_model_is_not_written(
    clips, exported_from, pictures, tmp_path, monkeypatch
):
    content = (exported_from("vit")[1] / "end2end.onnx").read_bytes()
    monkeypatch.setattr(export, "to_onnx", lambda prepared: content)
    inferencer = make_inferencer(clips, "vit", pooling={})
    inferencer.model.head.logit_bias.data += 1e-3
    with pytest.raises(ValueError, match="refused"):
        export_onnx(inferencer, pictures, tmp_path / "export", maps=True)
    assert not (tmp_path / "export").exists()


def test_weights_that_no_file_can_hold_are_refused(clips, pictures, monkeypatch):
    prepared = export.prepare(make_inferencer(clips, "vit"), pictures)
    monkeypatch.setattr(export, "_LARGEST", 1000)
    with pytest.raises(ValueError, match="an ONNX file holds 2 GiB"):
        to_onnx(prepared)


@pytest.mark.parametrize(
    ("tower", "operator", "end"),
    [("vit", "MatMulInteger", "MatMul"), ("mixed", "QuantizeLinear", "Conv")],
)
def test_eight_bits_score_nearly_alike(exported_from, tower, operator, end):
    _, folder, reports = exported_from(tower)
    files = folder / "end2end.onnx", folder / "end2end_int8.onnx"
    full, quantized = (onnx.load(file) for file in files)
    assert files[1].stat().st_size < files[0].stat().st_size
    types = [node.op_type for node in quantized.graph.node]
    assert operator in types
    # The class embeddings, and all behind the last convolution, stay float32.
    behind = types[len(types) - types[::-1].index(end) :]
    assert behind and not {"MatMulInteger", "QuantizeLinear"} & set(behind[2:])
    assert full.metadata_props == quantized.metadata_props
    assert 0 < reports["end2end_int8"]["max_difference"] < 1
