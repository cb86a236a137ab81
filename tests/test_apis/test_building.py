"""A model is built from the checkpoint alone, and only from plain data."""

import copy

import pytest
import torch
from conftest import REPOSITORY, write_clip
from mmengine.config import Config
from mmpretrain.apis import ModelHub, list_models

from capnet_mm.apis import building

from .conftest import CLASSES, META


def saved(content, path, **meta) -> str:
    """A checkpoint with another meta."""
    torch.save(dict(content, meta=dict(content["meta"], **meta)), path)
    return str(path)


def test_the_checkpoint_alone_brings_config_names_and_weights(content, checkpoint):
    model = building.load_checkpoint_model(checkpoint)
    assert not model.training
    assert model.head.classes == CLASSES
    assert model._dataset_meta == META  # groups and counts as well
    state = model.state_dict()
    for key, weight in content["state_dict"].items():
        assert torch.equal(state[key], weight), key


def test_names_for_prompts_come_from_the_checkpoint(checkpoint, content, tmp_path):
    """Soft prompts hold them as tokens: other names give other features."""
    other = dict(META, prompt_names=("dog", "cat", "screen"))
    file = saved(content, tmp_path / "a.pth", dataset_meta=other)
    heads = [building.load_checkpoint_model(f).head for f in (checkpoint, file)]
    with torch.no_grad():
        one, another = (head.class_embeddings() for head in heads)
    assert not torch.allclose(one[2], another[2])


def test_a_clip_that_is_not_there_is_named_and_how_to_say_where(
    content, clips, config, tmp_path
):
    cfg = copy.deepcopy(config)
    cfg.model.clip.model = "local-dir:/moved/away"
    file = saved(content, tmp_path / "a.pth", cfg=cfg.pretty_text)
    with pytest.raises(FileNotFoundError, match="/moved/away.*clip="):
        building.load_checkpoint_model(file)
    model = building.load_checkpoint_model(file, dict(model=clips["vit_224"]))
    assert model.head.classes == CLASSES


def test_another_clip_than_that_of_training_is_refused(checkpoint, tmp_path):
    other = write_clip(tmp_path / "clip", "vit_224", seed=1)
    # These weights are in the checkpoint of this test; without them it is noticed.
    content = torch.load(checkpoint, weights_only=True)
    state = content["state_dict"]
    content["state_dict"] = {
        key: value
        for key, value in state.items()
        if "visual" not in key or "adapter" in key
    }
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="Use the CLIP"):
        building.load_checkpoint_model(str(tmp_path / "a.pth"), dict(model=other))


@pytest.mark.parametrize(
    "attack",
    [
        dict(cfg="open({mark!r}, 'w')"),
        dict(imports="evil_module"),
        dict(type="evil_module.run"),
        dict(step="evil_module.run"),
        dict(classes=dict(type="evil_module.run")),
    ],
    ids=["code", "import", "model", "transform", "classes"],
)
def test_a_checkpoint_runs_no_code(attack, content, config, tmp_path, monkeypatch):
    """Each of these would run in MMEngine's own hands, or names what would."""
    mark = tmp_path / "ran"
    (tmp_path / "evil_module.py").write_text(
        f"open({str(mark)!r}, 'w')\ndef run(**kwargs): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cfg, meta = copy.deepcopy(config), {}
    if "imports" in attack:
        cfg.custom_imports.imports = ["capnet_mm", attack["imports"]]
    if "type" in attack:
        cfg.model.backbone.type = attack["type"]
    if "step" in attack:
        cfg.test_dataloader.dataset.pipeline[1].type = attack["step"]
    if "classes" in attack:
        cfg.model.head.classes = attack["classes"]
        meta["dataset_meta"] = {}
    text = cfg.pretty_text
    if "cfg" in attack:
        text = attack["cfg"].format(mark=str(mark))
    file = saved(content, tmp_path / "a.pth", cfg=text, **meta)
    with pytest.raises(ValueError, match="not run|not imported|not built"):
        building.load_checkpoint_model(file)
    assert not mark.exists()


def test_who_trusts_the_config_has_its_modules_imported(
    content, config, tmp_path, monkeypatch
):
    (tmp_path / "own_module.py").write_text("imported = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    cfg = copy.deepcopy(config)
    cfg.custom_imports.imports = ["capnet_mm", "own_module"]
    file = saved(content, tmp_path / "a.pth", cfg=cfg.pretty_text)
    model = building.load_checkpoint_model(file, trust_config=True)
    assert model.head.classes == CLASSES


def test_a_checkpoint_with_a_pickled_object_is_refused(content, tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    file = saved(content, tmp_path / "a.pth", extra=Evil())
    with pytest.raises(ValueError, match="refused"):
        building.load_checkpoint_model(file)
    assert not (tmp_path / "ran").exists()


def test_what_is_no_checkpoint_of_a_training_says_so(content, config, tmp_path):
    torch.save(dict(state_dict={}), tmp_path / "a.pth")
    with pytest.raises(ValueError, match="carries no config"):
        building.load_checkpoint_model(str(tmp_path / "a.pth"))
    state = {k: v for k, v in content["state_dict"].items() if "gcn" not in k}
    torch.save(dict(content, state_dict=state), tmp_path / "b.pth")
    with pytest.raises(ValueError, match="4 of the model's weights are not in it"):
        building.load_checkpoint_model(str(tmp_path / "b.pth"))


def test_a_config_is_a_file_or_a_name_of_the_hub(monkeypatch, tmp_path):
    list_models()  # MMPretrain registers its own at the first call
    monkeypatch.setattr(ModelHub, "_models_dict", dict(ModelHub._models_dict))
    ModelHub.register_model_index(
        REPOSITORY / "model-index.yml", config_prefix=REPOSITORY
    )
    assert building.is_config("a.py") and building.is_config("capnet_custom")
    assert not building.is_config("epoch_10.pth")
    by_name = building.find_config("capnet_zero-shot_shapes-lt")
    by_file = building.find_config(str(REPOSITORY / "configs/demo/zero_shot.py"))
    assert by_name.model == by_file.model
    with pytest.raises(FileNotFoundError, match="no config file"):
        building.find_config(str(tmp_path / "no.py"))


def test_pipeline_of_a_wrapped_data_set():
    steps = [dict(type="LoadImage")]
    inner = dict(type="VOCLT", pipeline=steps)
    wrapped = dict(dataset=dict(type="RepeatDataset", times=2, dataset=inner))
    assert building.pipeline_of(Config(dict(test_dataloader=wrapped))) == steps
    assert building.pipeline_of(Config(dict(test_pipeline=steps))) == steps
    with pytest.raises(ValueError, match="how pictures are prepared"):
        building.pipeline_of(Config(dict()))


def test_zero_shot_needs_a_clip_its_weights_and_names(clips):
    with pytest.raises(ValueError, match="both clip= and classes="):
        building.build(None, clip=clips["vit_224"])
    with pytest.raises(ValueError, match="name its weights"):
        building.build(None, clip="ViT-B-32", classes=["dog"])
    with pytest.raises(ValueError, match="name its architecture"):
        building.build(None, pretrained="openai", classes=["dog"])


def test_pictures_of_a_zero_shot_clip_are_made_for_its_tower(clips):
    model = building.build(None, clip=clips["vit"], classes=["dog"])
    assert model._config.test_pipeline[2]["crop_size"] == 32
