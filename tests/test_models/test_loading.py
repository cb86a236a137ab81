import json
import os
import pickle
import shutil

import open_clip
import pytest
import torch
from conftest import write_clip
from safetensors.torch import load_file, save_file

from capnet_mm.models import CLIPBackbone
from capnet_mm.models.towers.loading import load_clip


def test_unknown_model_is_refused_with_close_names():
    with pytest.raises(ValueError, match="ViT-B-16"):
        load_clip("ViT-B16")


def test_unknown_tag_is_refused_with_the_models_tags():
    with pytest.raises(ValueError, match="openai"):
        load_clip("ViT-B-16", "opnai")


def test_missing_checkpoint_file_is_named():
    with pytest.raises(FileNotFoundError, match="no/such/file.pt"):
        load_clip("ViT-B-16", "no/such/file.pt")


def test_missing_parts_of_a_local_directory_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no CLIP directory"):
        load_clip(f"local-dir:{tmp_path / 'none'}")
    with pytest.raises(FileNotFoundError, match="open_clip_config.json"):
        load_clip(f"local-dir:{tmp_path}")
    write_clip(tmp_path, "vit")
    os.remove(tmp_path / "open_clip_model.safetensors")
    with pytest.raises(FileNotFoundError, match="has no weights"):
        load_clip(f"local-dir:{tmp_path}")


def test_weights_of_another_architecture_are_refused(tmp_path, tiny_clip):
    weights = os.path.join(
        tiny_clip.removeprefix("local-dir:"), "open_clip_model.safetensors"
    )
    with pytest.raises(ValueError, match="are not those of a ViT-B-32"):
        load_clip("ViT-B-32", weights)


def test_download_failure_says_which_file_and_where_to_put_it(monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise FileNotFoundError("no route to host")

    monkeypatch.setattr("open_clip.factory.download_pretrained", no_network)
    with pytest.raises(FileNotFoundError) as caught:
        load_clip("ViT-B-16", "openai", cache_dir=str(tmp_path))
    message = str(caught.value)
    assert "timm/vit_base_patch16_clip_224.openai" in message
    assert "set pretrained to its path" in message
    assert "quick_gelu=True" in message


def test_openai_tag_uses_quick_gelu(monkeypatch):
    """The tag says so; a checkpoint file can be told to."""
    model = load_clip("ViT-B-32", quick_gelu=True)
    activation = type(model.visual.transformer.resblocks[0].mlp.gelu).__name__
    assert activation == "QuickGELU"

    seen = {}
    monkeypatch.setattr(
        open_clip, "create_model", lambda *a, **k: seen.update(k) or model
    )
    load_clip("ViT-B-32", "openai")
    assert seen["force_quick_gelu"] is True
    load_clip("ViT-B-32", "laion2b_s34b_b79k")
    assert seen["force_quick_gelu"] is False


def test_checkpoint_that_carries_code_is_refused_and_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "weights.pt"
    torch.save({"state_dict": Payload()}, path, pickle_module=pickle)
    with pytest.raises(ValueError, match="refused"):
        load_clip("ViT-B-32", str(path))
    assert not (tmp_path / "ran").exists()


def test_pretrained_none_is_random_and_ignored_for_a_local_directory(tiny_clip):
    assert load_clip("ViT-B-32", "none") is not None
    directory = tiny_clip.removeprefix("local-dir:")
    config = json.load(open(os.path.join(directory, "open_clip_config.json")))
    backbone = CLIPBackbone(tiny_clip, pretrained="openai")
    assert list(backbone.image_mean) == config["preprocess_cfg"]["mean"]


def test_real_clip_has_open_clips_features(shared_dir):
    model = f"local-dir:{shared_dir / 'models' / 'pocket_clip'}"
    bare = open_clip.create_model(model).eval()
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        features = CLIPBackbone(model, adapter="auto")(images)[0]
        assert torch.equal(features, bare.encode_image(images))


def test_left_out_token_rows_change_no_text_that_does_without_them(tmp_path, caplog):
    name = write_clip(tmp_path / "whole", "vit")
    whole = load_clip(name)
    texts = open_clip.get_tokenizer(name)(["a photo of a dog.", "two cats"])
    rows = texts.unique()

    compact = tmp_path / "compact"
    shutil.copytree(tmp_path / "whole", compact)
    state = load_file(compact / "open_clip_model.safetensors")
    state["token_embedding.weight"] = state["token_embedding.weight"][rows].contiguous()
    state["token_embedding.rows"] = rows
    save_file(state, compact / "open_clip_model.safetensors")

    loaded = load_clip(f"local-dir:{compact}")
    assert "initialized randomly" not in caplog.text
    with torch.no_grad():
        assert torch.equal(loaded.encode_text(texts), whole.encode_text(texts))
    table = loaded.token_embedding.weight
    assert len(table) == 49408 and table.any(dim=1).sum() == len(rows)


def test_random_weights_are_named_as_such(tiny_clip, tmp_path, caplog):
    load_clip("RN50", None)
    assert "initialized randomly" in caplog.text
