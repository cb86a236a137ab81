"""A checkpoint of a training, without the training."""

import copy

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image

CLASSES = ("dog", "cat", "tvmonitor")
META = dict(
    classes=CLASSES,
    prompt_names=("dog", "cat", "tv"),
    class_counts=(400, 30, 2),
    num_images=420,
    groups=dict(head=(0,), medium=(1,), tail=(2,)),
)


@pytest.fixture(scope="session")
def config(clips, tmp_path_factory) -> Config:
    """``capnet_custom.py`` with a small ViT; its data set is nowhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAPNET_DATA_ROOT", "/nowhere")
        patch.setenv("CAPNET_CLIP", clips["vit_224"])
        cfg = Config.fromfile(REPOSITORY / "configs/capnet_custom.py")
    cfg.model.head.prompt.num_context = 4
    return cfg


@pytest.fixture(scope="session")
def content(config) -> dict:
    """What MMEngine's runner saves, with weights far from those at the start."""
    cfg = copy.deepcopy(config)
    cfg.model.head.classes = {k: META[k] for k in ("classes", "prompt_names")}
    model = MODELS.build(cfg.model)
    model.head.loss_module.set_class_counts(META["class_counts"], META["num_images"])
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    meta = dict(cfg=config.pretty_text, dataset_meta=META)
    return dict(state_dict=model.state_dict(), meta=meta)


@pytest.fixture(scope="session")
def checkpoint(content, tmp_path_factory) -> str:
    """The file, alone in its folder."""
    path = tmp_path_factory.mktemp("checkpoint") / "epoch_10.pth"
    torch.save(content, path)
    return str(path)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> list[str]:
    """Five pictures of different sizes and kinds."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    files = []
    names = ("a.jpg", "b.png", "c.bmp", "d.webp", "e.jpg")
    for index, name in enumerate(names):
        shape = (240 + 10 * index, 300 - 10 * index, 3)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(root / name)
        files.append(str(root / name))
    return files
