"""The demo's CLIP: what it may see, and that what is saved is what was trained."""

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import REPOSITORY

from capnet_mm.datasets.shapes import CLASS_KINDS, CLASS_NAMES, COLORS, SHAPES, TEXTURES
from capnet_mm.models import CLIPTextEncoder
from capnet_mm.models.towers.loading import load_clip

import open_clip  # isort: skip


@pytest.fixture(scope="module")
def tool():
    path = REPOSITORY / "tools" / "pretrain_demo_clip.py"
    spec = importlib.util.spec_from_file_location("pretrain_demo_clip", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # in sys.modules, for its worker processes
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def small(tool, monkeypatch):
    """A model and images of which an epoch takes seconds."""
    vision = dict(image_size=96, patch_size=48, width=16, head_width=8, layers=1)
    text = dict(context_length=32, vocab_size=49408, width=16, heads=2, layers=1)
    small = dict(embed_dim=8, vision_cfg=vision, text_cfg=text)
    monkeypatch.setattr(tool, "MODEL", small)
    monkeypatch.setattr(tool, "CHUNK", 32)

    def arguments(folder, epochs):
        return SimpleNamespace(
            images=64,
            epochs=epochs,
            batch_size=32,
            lr=1e-3,
            seed=0,
            workers=1,
            work_dir=str(folder),
        )

    return arguments


def test_all_words_but_not_all_combinations_are_seen(tool):
    seen = tool.seen_kinds()
    assert len(seen) == 192
    words = {word for kind in seen for word in kind}
    assert words == {*TEXTURES, *COLORS, *SHAPES}
    assert [kind in seen for kind in CLASS_KINDS] == 12 * [True] + 12 * [False]


def test_captions_name_only_what_is_to_be_seen(tool):
    rng = np.random.default_rng(0)
    scene = tool.seen_kinds()[3:6]
    shown = {word for kind in scene for word in kind}
    captions = {tool.caption(scene, rng) for _ in range(200)}
    vocabulary = {*TEXTURES, *COLORS, *SHAPES}
    for caption in captions:
        words = set(caption.replace(".", "").split())
        assert words & vocabulary and words & vocabulary <= shown
    assert len({caption.count(" and ") for caption in captions}) == 3


def test_no_image_or_caption_shows_a_held_out_kind(tool, monkeypatch):
    monkeypatch.setattr(tool, "CHUNK", 50)
    images, scenes = tool.draw_chunk(0, 0)
    assert images.shape == (50, 96, 96, 3) and images.dtype == np.uint8
    assert {kind for scene in scenes for kind in scene} <= set(tool.seen_kinds())


def test_saved_clip_is_the_trained_one(tool, small, tmp_path):
    model = tool.train(small(tmp_path / "work", epochs=1))
    tool.save(model, tmp_path / "clip")
    name = f"local-dir:{tmp_path / 'clip'}"
    loaded = load_clip(name)
    texts = ["a photo of a striped blue heart.", "a red ring and a dotted moon here"]
    ids = open_clip.get_tokenizer(name)(texts)
    rows = tool.used_tokens()
    image = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        model.half().float()  # as it is stored
        expected = model.encode_text(torch.searchsorted(rows, ids))
        assert torch.allclose(loaded.encode_text(ids), expected, atol=1e-6)
        assert torch.allclose(
            loaded.encode_image(image), model.encode_image(image), atol=1e-6
        )


def test_stopped_pre_training_goes_on(tool, small, tmp_path, monkeypatch):
    straight = tool.train(small(tmp_path / "straight", epochs=2)).state_dict()

    real_save = torch.save

    def power_cut(state, file):
        real_save(state, file)
        file.rename(tmp_path / "cut" / "state.pth")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", power_cut)
    with pytest.raises(KeyboardInterrupt):
        tool.train(small(tmp_path / "cut", epochs=2))
    monkeypatch.setattr(torch, "save", real_save)
    resumed = tool.train(small(tmp_path / "cut", epochs=2)).state_dict()
    different = [n for n in straight if not torch.equal(straight[n], resumed[n])]
    assert different == []


def test_committed_clip_is_small_and_knows_the_class_names():
    folder = REPOSITORY / "configs" / "demo" / "clip"
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size <= 4e6
    encoder = CLIPTextEncoder(f"local-dir:{folder}")
    ids, _ = encoder.tokenize([f"a photo of a {name}." for name in CLASS_NAMES])
    assert encoder.token_embedding.weight[ids.unique()].any(dim=1).all()
    similarity = torch.nn.functional.normalize(
        encoder.encode_text([f"a photo of a {name}." for name in CLASS_NAMES])
    )
    similarity = similarity @ similarity.T
    # Names that share a word are closer than names that share none.
    shared = torch.tensor(
        [[len(set(a) & set(b)) for b in CLASS_KINDS] for a in CLASS_KINDS]
    )
    assert similarity[shared == 1].mean() > similarity[shared == 0].mean()
