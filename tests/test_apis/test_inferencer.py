"""The inferencer's results are those of the model, its pipeline and its thresholds."""

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS, TRANSFORMS
from PIL import Image

from capnet_mm.apis import MultiLabelInferencer, inference_model

from .conftest import CLASSES, META

CALIBRATION = dict(
    classes=list(CLASSES), thresholds=[0.1, 0.5, 0.9], scale=2.0, bias=[0.5, 0.0, -1.0]
)


@pytest.fixture(scope="module")
def inferencer(checkpoint):
    return MultiLabelInferencer(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def logits(content, config, pictures) -> np.ndarray:
    """Those of every picture, through the test pipeline by hand, one at a time."""
    cfg = config.copy()
    model = dict(cfg.model, head=dict(cfg.model.head, classes=META))
    model = MODELS.build(model)
    model.load_state_dict(content["state_dict"])
    pipeline = Compose([TRANSFORMS.build(step) for step in cfg.test_pipeline])
    rows = []
    for path in pictures:
        data = pseudo_collate([pipeline(dict(img_path=path))])
        images = model.data_preprocessor(data)["inputs"]
        with torch.no_grad():
            rows.append(model.eval()(images, mode="tensor")[0].numpy())
    return np.stack(rows)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("options", [dict(batch_size=1), dict(batch_size=2)])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_scores_are_those_of_the_pipeline_by_hand(
    inferencer, logits, pictures, options, num_workers
):
    results = inferencer(pictures, num_workers=num_workers, **options)
    scores = np.stack([result["pred_scores"] for result in results])
    np.testing.assert_allclose(scores, sigmoid(logits), rtol=1e-4)
    assert [result["img_path"] for result in results] == pictures
    for result, row in zip(results, sigmoid(logits), strict=True):
        expected = [i for i in np.argsort(-row) if row[i] >= 0.5]
        assert result["pred_label"] == expected
        assert result["pred_class"] == [CLASSES[i] for i in expected]
        assert result["pred_score"] == [result["pred_scores"][i] for i in expected]
        groups = ("head", "medium", "tail")
        assert result["pred_group"] == [groups[i] for i in expected]
        assert result["thresholds"].tolist() == [0.5] * 3


def test_a_path_pixels_and_pil_give_the_same(inferencer, pictures):
    png = pictures[1]
    rgb = np.asarray(Image.open(png))
    forms = [png, rgb[..., ::-1], Image.open(png)]
    scores = [result["pred_scores"] for result in inferencer(forms)]
    scores.append(inferencer(rgb, rgb=True)[0]["pred_scores"])
    np.testing.assert_allclose(scores, [scores[0]] * 4, rtol=1e-6)
    assert inferencer(rgb)[0]["img_path"] is None


def test_config_and_checkpoint_give_the_same_as_the_checkpoint_alone(
    inferencer, config, checkpoint, pictures, tmp_path
):
    config.dump(tmp_path / "config.py")
    for first in (config, str(tmp_path / "config.py")):
        found = MultiLabelInferencer(first, checkpoint, device="cpu")(pictures[0])[0]
        expected = inferencer(pictures[0])[0]
        np.testing.assert_array_equal(found["pred_scores"], expected["pred_scores"])
        assert found["pred_group"] == expected["pred_group"]


def test_calibrated_probabilities_and_thresholds_are_used_where_there_are_some(
    content, logits, pictures, tmp_path
):
    meta = dict(content["meta"], calibration=CALIBRATION)
    torch.save(dict(content, meta=meta), tmp_path / "a.pth")
    calibrated = MultiLabelInferencer(tmp_path / "a.pth", device="cpu")
    expected = sigmoid(2 * logits + np.array([0.5, 0.0, -1.0]))
    for thr in (None, "calibrated"):
        results = calibrated(pictures, thr=thr)
        scores = np.stack([result["pred_scores"] for result in results])
        np.testing.assert_allclose(scores, expected, rtol=1e-4)
        for result, row in zip(results, expected, strict=True):
            assert result["thresholds"].tolist() == [0.1, 0.5, 0.9]
            over = {i for i in range(3) if row[i] >= CALIBRATION["thresholds"][i]}
            assert set(result["pred_label"]) == over


def test_tta_averages_the_logits_of_the_views(inferencer, config, pictures):
    result = inferencer(pictures[0], tta=True)[0]
    with DefaultScope.overwrite_default_scope("mmpretrain"):  # of what is nested
        pipeline = Compose([TRANSFORMS.build(step) for step in config.tta_pipeline])
    views = pipeline(dict(img_path=pictures[0]))["inputs"]
    model = inferencer.model
    images = model.data_preprocessor(dict(inputs=views))["inputs"]
    with torch.no_grad():
        logits = model(images, mode="tensor").mean(0)
    assert len(views) == 5
    np.testing.assert_allclose(result["pred_scores"], logits.sigmoid(), rtol=1e-4)
    plain = inferencer(pictures[0])[0]["pred_scores"]
    assert not np.allclose(plain, result["pred_scores"], rtol=1e-4)


def test_a_broken_picture_has_an_error_and_the_rest_goes_on(
    inferencer, pictures, tmp_path
):
    (tmp_path / "cut.jpg").write_bytes(open(pictures[0], "rb").read()[:500])
    mixed = [pictures[0], str(tmp_path / "cut.jpg"), np.zeros((4, 4)), pictures[1]]
    results = inferencer(mixed, batch_size=3)
    assert ["error" in result for result in results] == [False, True, True, False]
    assert "cut.jpg" in results[1]["error"] and results[1]["pred_class"] == []
    samples = inferencer(mixed, batch_size=3, return_datasamples=True)
    assert "cut.jpg" in samples[1].error
    assert samples[0].pred_label.tolist() == results[0]["pred_label"]


def test_pictures_of_a_size_that_the_tower_cannot_take_have_an_error(
    config, checkpoint, pictures
):
    cfg = config.copy()
    cfg.test_dataloader = dict(dataset=dict(pipeline=cfg.test_pipeline[::3]))
    results = MultiLabelInferencer(cfg, checkpoint, device="cpu")(
        pictures, batch_size=5
    )
    errors = ["error" in result for result in results]
    sizes = [Image.open(path).size for path in pictures]
    assert errors == [size != (224, 224) for size in sizes]
    assert "224 x 224" in results[0]["error"]


def test_a_stream_reads_pictures_as_they_are_asked_for(inferencer):
    read = []

    def frames():
        for index in range(1000):
            read.append(index)
            yield np.zeros((224, 224, 3), np.uint8)

    results = inferencer.stream(frames(), batch_size=2)
    for _ in range(4):
        next(results)
    assert len(read) <= 6


def test_unknown_and_impossible_arguments_are_refused_at_the_call(inferencer, pictures):
    for options, message in [
        (dict(no_such=1), "unknown argument"),
        (dict(thr="calibrated"), "tools/calibrate.py"),
        (dict(topk=0), "at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            inferencer.stream(pictures, **options)


def test_drawings_of_equal_stems_do_not_overwrite_each_other(
    inferencer, pictures, tmp_path
):
    files = []
    for name in ("one/a.png", "two/a.png", "two/A.jpg", "two/a_2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.open(pictures[1]).save(tmp_path / name)
        files.append(str(tmp_path / name))
    inferencer(files, batch_size=3, show_dir=str(tmp_path / "drawn"), topk=1)
    drawn = {path.name for path in (tmp_path / "drawn").iterdir()}
    assert drawn == {"a.png", "a_2.png", "A_3.png", "a_2_2.png"}
    shown = np.asarray(Image.open(tmp_path / "drawn" / "a.png").convert("RGB"))
    plain = np.asarray(Image.open(pictures[1]))
    assert shown.shape == plain.shape and (shown != plain).any()
    np.testing.assert_array_equal(shown[-50:, -50:], plain[-50:, -50:])


def test_zero_shot_scores_are_clips_own(clips, pictures):
    import open_clip

    inferencer = MultiLabelInferencer(
        clip=clips["vit_224"], classes=["dog", "cat"], device="cpu"
    )
    clip = open_clip.create_model(clips["vit_224"]).eval()
    tokens = open_clip.get_tokenizer(clips["vit_224"])

    def expected(names):
        data = inferencer.pipeline(dict(img_path=pictures[0]))
        images = inferencer.model.data_preprocessor(pseudo_collate([data]))["inputs"]
        words = tokens([f"a photo of a {name}." for name in names])
        with torch.no_grad():
            image = clip.encode_image(images, normalize=True)
            text = clip.encode_text(words, normalize=True)
        return (image @ text.T / 0.01).softmax(1)[0]

    for names in (["dog", "cat"], ["a bus", "grass", "dog"]):
        inferencer.set_classes(names)
        result = inferencer(pictures[0])[0]
        np.testing.assert_allclose(
            result["pred_scores"], expected(names), rtol=1e-3, atol=1e-5
        )
        assert set(result["pred_class"]) <= set(names) and result["pred_class"]
        assert result["thresholds"].tolist() == [1 / len(names)] * len(names)


WORDS = ("kite", "cat", "red umbrella")


def same(result, expected):
    assert result.keys() == expected.keys()
    np.testing.assert_array_equal(result["pred_scores"], expected["pred_scores"])
    np.testing.assert_array_equal(result["thresholds"], expected["thresholds"])
    for key in ("pred_class", "pred_group", "pred_score"):
        assert result[key] == expected[key], key
    return True


@pytest.mark.parametrize("options", [dict(), dict(tta=True, thr=0.1), dict(topk=2)])
def test_labels_of_one_call_are_those_of_set_classes_and_change_nothing(
    checkpoint, inferencer, pictures, options
):
    fresh = MultiLabelInferencer(checkpoint, device="cpu")
    before = fresh(pictures, **options)
    asked = fresh(pictures, candidate_labels=WORDS, **options)
    assert fresh.classes == CLASSES == fresh.model.head.classes
    assert all(map(same, fresh(pictures, **options), before))
    fresh.set_classes(WORDS)
    assert all(map(same, asked, fresh(pictures, **options)))
    # The other way about, from an inferencer that has been told other classes.
    again = fresh(pictures, candidate_labels=list(CLASSES), **options)
    assert all(map(same, again, before)) and fresh.classes == WORDS


def test_streams_for_different_labels_run_beside_each_other(inferencer, pictures):
    lists = [WORDS, ("lamp",), None]
    alone = [inferencer(pictures, candidate_labels=names) for names in lists]
    streams = [inferencer.stream(pictures, candidate_labels=names) for names in lists]
    for number, together in enumerate(zip(*streams, strict=True)):
        expected = [results[number] for results in alone]
        assert all(map(same, together, expected))


def test_labels_of_one_call_are_zero_shots_too(clips, pictures):
    clip = dict(clip=clips["vit_224"], device="cpu")
    inferencer = MultiLabelInferencer(classes=["dog", "cat"], **clip)
    asked = inferencer(pictures, candidate_labels=WORDS)
    fresh = MultiLabelInferencer(classes=WORDS, **clip)(pictures)
    for result, expected in zip(asked, fresh, strict=True):
        np.testing.assert_allclose(
            result["pred_scores"], expected["pred_scores"], rtol=1e-5
        )
        assert result["pred_class"] == expected["pred_class"]
        assert result["thresholds"].tolist() == [1 / 3] * 3
    assert inferencer.classes == ("dog", "cat")


def test_another_inferencer_for_other_classes_has_the_same_weights(inferencer):
    other = inferencer.for_classes(WORDS)
    assert other.classes == WORDS and inferencer.classes == CLASSES
    pairs = zip(inferencer.model.parameters(), other.model.parameters(), strict=True)
    assert all(own is its for own, its in pairs)


def test_labels_that_cannot_be_asked_for_are_refused_at_the_call(
    inferencer, pictures, monkeypatch
):
    wrong = [("kite", "list of names"), (["a", "a"], "repeated"), ([], "no class")]
    for labels, message in wrong:
        with pytest.raises(ValueError, match=message):
            inferencer.stream(pictures, candidate_labels=labels)
    monkeypatch.setattr(MultiLabelInferencer, "takes_classes", False)
    with pytest.raises(ValueError, match="cannot be asked for others"):
        inferencer.stream(pictures, candidate_labels=WORDS)


def test_inference_model_takes_arguments_of_both(checkpoint, inferencer, pictures):
    result = inference_model(checkpoint, pictures[0], device="cpu", topk=2)
    expected = inferencer(pictures[0], topk=2)[0]
    assert result["pred_class"] == expected["pred_class"]
    assert len(result["pred_class"]) == 2


def test_a_model_of_get_model_is_taken(inferencer, config, checkpoint, pictures):
    from mmpretrain.apis import get_model

    cfg = config.copy()
    cfg.model = dict(cfg.model, head=dict(cfg.model.head, classes=META))
    found = MultiLabelInferencer(get_model(cfg, checkpoint), device="cpu")(pictures[0])
    expected = inferencer(pictures[0])[0]
    np.testing.assert_array_equal(found[0]["pred_scores"], expected["pred_scores"])
    assert found[0]["pred_group"] == expected["pred_group"]
