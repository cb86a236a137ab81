"""Names of classes for a model, without the data."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from capnet_mm.datasets import ImageListDataset, ShapesLT
from capnet_mm.models.heads.class_names import resolve_class_names

init_default_scope("mmpretrain")


@pytest.mark.parametrize(
    ("name", "number"),
    [("VOCLT", 20), ("COCOLT", 80), ("NUSWIDE", 81), ("ShapesLT", 24)],
)
@pytest.mark.parametrize("test_mode", [False, True])
def test_named_data_sets_need_not_be_on_this_machine(name, number, test_mode, tmp_path):
    missing = tmp_path / "nowhere"
    config = dict(type=name, data_root=str(missing), test_mode=test_mode)
    names, prompt_names = resolve_class_names(config)
    assert len(names) == len(prompt_names) == number
    assert not missing.exists()


def test_shapes_are_drawn_when_they_are_wanted_and_not_before(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("capnet_mm.datasets.shapes_lt.draw_shapes_lt", drawn.append)
    dataset = ShapesLT(data_root=str(tmp_path / "shapes"), lazy_init=True)
    assert dataset.metainfo["classes"] and not drawn
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "shapes_lt_train.txt").write_text("a.png 0")
    dataset.check_images = False
    dataset.full_init()
    assert drawn == [str(tmp_path / "shapes")]


def test_what_a_checkpoint_says_of_its_data_is_enough(tiny_clip, tmp_path):
    (tmp_path / "classes.txt").write_text("tvmonitor\ttv\ndog\n")
    (tmp_path / "train.txt").write_text("a.jpg 0")
    data = dict(ann_file="train.txt", data_root=str(tmp_path), check_images=False)
    dataset_meta = ImageListDataset(**data).metainfo
    head = dict(type="CorrelationPromptHead", text_encoder=dict(model=tiny_clip))
    torch.manual_seed(0)
    with_data = MODELS.build(dict(head, classes=dict(type="ImageListDataset", **data)))
    torch.manual_seed(0)
    without = MODELS.build(dict(head, classes=dataset_meta))
    assert without.classes == with_data.classes == ("tvmonitor", "dog")
    torch.testing.assert_close(without.class_embeddings(), with_data.class_embeddings())


def test_names_in_a_missing_folder_say_what_else_serves(tmp_path):
    config = dict(
        type="ImageListDataset", ann_file="a.txt", data_root=str(tmp_path / "no")
    )
    with pytest.raises(FileNotFoundError, match="no data root .*dataset_meta"):
        resolve_class_names(config)


def test_lists_of_names_are_their_own_prompts():
    assert resolve_class_names(["cat", "dog"]) == (("cat", "dog"), ("cat", "dog"))


@pytest.mark.parametrize(
    ("classes", "message"),
    [("cat", "list of names"), ([], "no class names"), (["a", "a"], "repeated")],
)
def test_wrong_names_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        resolve_class_names(classes)
