"""Many people ask one model, and none of them sees the words of another."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from capnet_mm.apis import MultiLabelInferencer, asking
from capnet_mm.apis.asking import check_picture, split_words
from capnet_mm.visualization.class_map_figure import with_heat

from .exporting import CLASSES, make_inferencer
from .serving import make_shared


@pytest.fixture(scope="module")
def shared(clips):
    return make_shared(clips, pooling=dict(weight=0.5))


def test_labels_are_the_inferencers_in_order(clips, shared, pictures):
    expected = make_inferencer(clips, "timm", dict(weight=0.5))(pictures)
    results = shared.ask(pictures, threshold=0.5)
    for path, result, one in zip(pictures, results, expected, strict=True):
        assert path.endswith("/" + result["img_path"])
        scores = {label.name: label.score for label in result["labels"]}
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        by_name = dict(zip(CLASSES, one["pred_scores"].tolist(), strict=True))
        assert scores == pytest.approx(by_name, abs=1e-6)
        predicted = [label.name for label in result["labels"] if label.is_predicted]
        assert predicted == [name for name, score in scores.items() if score >= 0.5]
    groups = {label.name: label.group for label in results[0]["labels"]}
    assert groups == dict(zip(CLASSES, ("head", "medium", "tail"), strict=True))


def test_people_who_ask_at_once_get_their_own_words(shared, pictures):
    words = [(), ("kite",), ("red umbrella", "kite"), ("lamp",)] * 5

    def ask(some):
        (result,) = shared.ask(pictures[:1], some)
        return {label.name: label for label in result["labels"]}

    alone = {some: ask(some) for some in set(words)}
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, words))
    for some, labels in zip(words, together, strict=True):
        assert set(labels) == {*CLASSES, *some}
        assert labels == alone[some]
        assert {name for name, label in labels.items() if label.is_new} == set(some)


def test_where_a_class_is_seen_is_the_heads_map(clips, tmp_path):
    shared = make_shared(clips, "vit", dict(weight=0.5))
    picture = Image.new("RGB", (32, 32), "navy")
    picture.paste("orange", (16, 0, 32, 32))
    picture.save(tmp_path / "half.png")
    drawn = shared.where(str(tmp_path / "half.png"), "cat", ["kite"])

    model = make_inferencer(clips, "vit", dict(weight=0.5)).model
    bgr = np.ascontiguousarray(np.array(picture)[..., ::-1].transpose(2, 0, 1))
    data = dict(inputs=torch.from_numpy(bgr)[None], data_samples=None)
    images = model.data_preprocessor(data)["inputs"]
    with torch.no_grad():
        _, maps = model.head.class_activation_maps(model.extract_feat(images))
    np.testing.assert_array_equal(
        drawn, with_heat(np.array(picture), maps[0, 1].numpy())
    )
    with pytest.raises(ValueError, match="no class 'lamp'"):
        shared.where(str(tmp_path / "half.png"), "lamp")


def test_a_model_without_local_pooling_says_not_where(clips, pictures):
    assert make_shared(clips).where(pictures[0], "dog") is None


def test_neighbors_are_the_rows_of_the_label_graph(shared):
    adjacency = shared._head.graph.adjacency
    found = shared.neighbors("dining table")
    assert dict(found) == pytest.approx(
        {CLASSES[i]: float(adjacency[2, i]) for i in (0, 1)}
    )
    assert found[0][1] >= found[1][1]
    assert shared.neighbors("kite") == []


def test_what_is_no_picture_fails_alone_and_names_no_folder(shared, pictures, tmp_path):
    text, cut = tmp_path / "text.jpg", tmp_path / "cut.png"
    text.write_text("no picture")
    with open(pictures[1], "rb") as file:
        cut.write_bytes(file.read()[:20_000])
    results = shared.ask([str(text), pictures[0], str(cut)])
    assert ["error" in result for result in results] == [True, False, True]
    assert "no picture that can be read" in results[0]["error"]
    for result in (results[0], results[2]):
        assert str(tmp_path) not in str(result) and result["labels"] == []


def test_a_small_file_of_a_huge_picture_is_not_decoded(tmp_path):
    Image.new("1", (9_000, 9_000)).save(tmp_path / "huge.png")
    with pytest.raises(ValueError, match="more than 50 million"):
        check_picture(str(tmp_path / "huge.png"))


def test_a_strip_that_would_be_resized_to_gigabytes_is_not_decoded(shared, tmp_path):
    """A file of 600 bytes took a minute and 12 GB."""
    Image.new("RGB", (1, 51)).save(tmp_path / "strip.png")
    (result,) = shared.ask([str(tmp_path / "strip.png")])
    assert "more than 50 times the other" in result["error"]
    Image.new("RGB", (1, 50)).save(tmp_path / "strip.png")
    assert "error" not in shared.ask([str(tmp_path / "strip.png")])[0]


def test_nobody_waits_for_all_pictures_of_another(shared, pictures, monkeypatch):
    """Between two of them it is the next one's turn."""
    locked = []
    check = asking.check_picture

    def check_picture(picture):
        locked.append(shared._lock.locked())
        check(picture)

    monkeypatch.setattr(asking, "check_picture", check_picture)
    shared.ask(pictures[:2], ["kite"])
    assert locked == [False, False]


def test_words_that_somebody_asked_for_lately_are_not_embedded_again(shared, pictures):
    shared.ask(pictures[:1], ["a word", "another"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MultiLabelInferencer, "set_classes", None)  # would fail
        (result,) = shared.ask(pictures[:1], ["a word", "another"])
    assert len(result["labels"]) == 5


def test_words_are_read_as_people_type_them():
    assert split_words(" red  umbrella, kite;\nkite,, lamp ") == [
        "red umbrella",
        "kite",
        "lamp",
    ]


@pytest.mark.parametrize("words", [["x" * 101], [f"w{i}" for i in range(101)]])
def test_too_many_words_are_refused(shared, pictures, words):
    with pytest.raises(ValueError, match="Too many words"):
        shared.ask(pictures[:1], words)


def test_a_head_that_takes_no_words_says_so(clips, pictures, monkeypatch):
    shared = make_shared(clips)
    monkeypatch.setattr(MultiLabelInferencer, "takes_classes", False)
    with pytest.raises(ValueError, match="cannot be asked for others"):
        shared.ask(pictures[:1], ["kite"])
