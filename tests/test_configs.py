"""Every leaf of ``configs/`` is trained, saved, and tested with and without TTE."""

import math
import random

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from capnet_mm.cli import apply_tta
from capnet_mm.comparison.grid import read_grid, write_configs
from capnet_mm.datasets import COCOLT, NUSWIDE, VOCLT, ShapesLT
from capnet_mm.datasets.list_files import read_image_list, write_image_list

CONFIGS = sorted(
    path.relative_to(REPOSITORY / "configs").as_posix()
    for path in (REPOSITORY / "configs").glob("**/*.py")
    if "_base_" not in path.as_posix()
    and path.parent.name != "grids"
    # Not a leaf; and one for several processes, see test_several_processes.py.
    and path.name not in ("capnet_head.py", "capnet_coco_lt_fsdp.py")
)
# MMPretrain's own backbones: smaller ones of the same class.
SMALLER = {
    "ResNet": dict(depth=18),
    "SwinTransformer": dict(arch="tiny"),
    "VisionTransformer": dict(arch="deit-t"),
}
WIDTHS = {"ResNet": 512, "SwinTransformer": 768, "VisionTransformer": 192}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """Six images under the names of every data set's lists."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    lists = {"voc_lt": VOCLT, "coco_lt": COCOLT, "nus_wide": NUSWIDE, None: None}
    for name, dataset in lists.items():
        num_classes = len(dataset.METAINFO["classes"]) if dataset else 3
        lines = []
        for index in range(6):
            pixels = rng.integers(0, 256, (240, 260, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"{index}.jpg")
            labels = {index % num_classes, 1, 2} if index else set()
            lines.append(" ".join([f"{index}.jpg", *map(str, sorted(labels))]))
        train, val = "\n".join(lines[:4]), "\n".join(lines[2:])
        prefix = f"{name}_" if name else ""
        (root / f"{prefix}train.txt").write_text(train)
        (root / f"{prefix}{'test' if name else 'val'}.txt").write_text(val)
    for split in ("train", "test"):  # this one has no lists but prepared ones
        images = read_image_list(str(root / f"nus_wide_{split}.txt"), 81)
        write_image_list(root / f"nus_wide_{split}.json", images)
    (root / "classes.txt").write_text("dog\ncat\ntvmonitor\n")
    return root


@pytest.fixture(scope="module")
def shapes_root(tmp_path_factory):
    """The data of the demo."""
    root = tmp_path_factory.mktemp("demo") / "shapes_lt"
    ShapesLT(str(root))
    return root


@pytest.fixture
def read(monkeypatch, data_root, shapes_root, clips, tmp_path):
    """Reads a config for two epochs on a few images and a tiny CLIP."""

    def read(name, root=data_root):
        is_demo = name.startswith("demo/")  # brings its own CLIP and images
        root = shapes_root if is_demo else root
        sizes = {"rn50": "resnet_224", "336": "vit_336"}
        vision = next((sizes[key] for key in sizes if key in name), "vit_224")
        monkeypatch.setenv("CAPNET_DATA_ROOT", str(root))
        monkeypatch.setenv("CAPNET_CLIP", clips[vision])
        cfg = Config.fromfile(REPOSITORY / "configs" / name)
        for split in ("train", "val", "test"):
            loader = cfg[f"{split}_dataloader"]
            if loader is not None:
                loader.update(batch_size=2, num_workers=0, persistent_workers=False)
                if is_demo:
                    loader.dataset.indices = 4
        if "clip" in cfg.model and not is_demo:
            cfg.model.clip.model = clips[vision]
            for part, width in dict(neck=16, head=32).items():  # of joint space, tower
                if "in_channels" in (cfg.model.get(part) or ()):
                    cfg.model[part].in_channels = width
        elif not is_demo:
            kind = cfg.model.backbone.type
            cfg.model.backbone.update(SMALLER[kind], init_cfg=None)
            cfg.model.head.in_channels = WIDTHS[kind]
        if cfg.train_cfg is not None:
            cfg.train_cfg.max_epochs = 2
        if name != "demo/capnet.py":  # its images take longer than all the rest
            hooks = cfg.custom_hooks
            cfg.custom_hooks = [hook for hook in hooks if hook.type != "ReportHook"]
        cfg.work_dir = str(tmp_path)
        cfg.experiment_name = f"{name}-{random.random()}"
        return cfg

    return read


def check(metrics, all_tail=True):
    assert 0 <= metrics["multi-label/mAP"] <= 100
    if not all_tail:
        return
    assert math.isnan(metrics["multi-label/mAP_head"])  # six images: all are tail
    assert metrics["multi-label/mAP_tail"] == metrics["multi-label/mAP"]


def test_rows_of_the_ablation_have_optimizers_that_fit_what_is_trained(read, tmp_path):
    """The baselines are leaves."""
    rows = read_grid(REPOSITORY / "configs" / "grids" / "ablation_fast.py")
    for path in write_configs(rows, tmp_path / "configs").values():
        cfg = read(path)
        Runner.from_cfg(cfg).build_optim_wrapper(cfg.optim_wrapper)


@pytest.mark.parametrize("name", CONFIGS)
def test_leaf_trains_and_tests(read, name, tmp_path):
    cfg = read(name)
    all_tail = not name.startswith("demo/")
    if cfg.train_cfg is None:  # nothing to train
        check(Runner.from_cfg(cfg).test(), all_tail)
        return
    runner = Runner.from_cfg(cfg)
    trainable = {n: p for n, p in runner.model.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in trainable.items()}
    runner.train()
    moved = [n for n, p in trainable.items() if not torch.equal(p.cpu(), before[n])]
    # Every part learns; a layer behind a zero start may have moved very little.
    assert {n.split(".")[0] for n in moved} == {n.split(".")[0] for n in trainable}

    (log,) = tmp_path.glob("*/*.log")
    assert "requires_grad" not in log.read_text()  # no complaint of untrained parts

    checkpoint = tmp_path / "epoch_2.pth"
    saved = torch.load(checkpoint)["state_dict"]
    assert set(trainable) <= set(saved)
    of_clip = {key for key in saved if "text_encoder" in key}
    assert of_clip <= {"head.text_encoder._extra_state"}  # which CLIP it was

    assert (tmp_path / "report/report.html").exists() == (name == "demo/capnet.py")
    for tta in (False, True):
        cfg = read(name)
        cfg.load_from = str(checkpoint)
        if tta:
            if cfg.model.head.type == "MultiLabelLinearClsHead":
                cfg.tta_model.average = "probabilities"
            apply_tta(cfg)
        check(Runner.from_cfg(cfg).test(), all_tail)


@pytest.mark.parametrize("vision", ["vit", "resnet", "timm"])
def test_measured_rates_reach_their_parts_in_every_tower(read, clips, vision):
    cfg = read("capnet_custom.py")
    cfg.model.clip.model = clips[vision]
    cfg.model.backbone.adapter = dict(type="ScaleShift")
    runner = Runner.from_cfg(cfg)
    wrapper = runner.build_optim_wrapper(cfg.optim_wrapper)
    groups = wrapper.optimizer.param_groups
    rates = {id(group["params"][0]): group["lr"] / 1e-3 for group in groups}
    trained = [(n, p) for n, p in runner.model.named_parameters() if p.requires_grad]
    part = {  # all that is trained, each by its own words
        "backbone": 20.0,
        "head.gcn": 3.0,
        "head.prompt": 0.3,
        "head.logit_scale": 10.0,
        "head.logit_bias": 10.0,
    }
    assert len(trained) == len(groups) == 2 + 3 + 1 + 2
    for name, parameter in trained:
        expected = next(rate for start, rate in part.items() if name.startswith(start))
        assert rates[id(parameter)] == pytest.approx(expected), name


def test_a_misspelt_custom_key_of_a_user_is_named(read):
    cfg = read("capnet_custom.py")
    cfg.merge_from_dict(
        {"optim_wrapper.paramwise_cfg": dict(custom_keys={"head.gnc": dict(lr_mult=9)})}
    )
    with pytest.raises(ValueError, match=r"'head\.gnc' has no effect.*head\.gcn"):
        Runner.from_cfg(cfg).train()


def test_prepared_json_lists_need_no_classes_file(
    read, data_root, tmp_path, monkeypatch
):
    root = tmp_path / "data"
    root.mkdir()
    for name in ("train", "val"):
        images = read_image_list(str(data_root / f"{name}.txt"), 3)
        for image in images:
            image["img_path"] = str(data_root / image["img_path"])
        metainfo = dict(classes=["dog", "cat", "tvmonitor"])
        write_image_list(root / f"pets_{name}.json", images, metainfo)
    monkeypatch.setenv("CAPNET_TRAIN_LIST", "pets_train.json")
    monkeypatch.setenv("CAPNET_VAL_LIST", "pets_val.json")
    cfg = read("zero_shot_custom.py", root)
    assert cfg.val_dataloader.dataset.train_ann_file == "pets_train.json"
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.allow_outside = True  # the images are elsewhere
    check(Runner.from_cfg(cfg).test())


@pytest.mark.parametrize("averaged", [False, True])
def test_interrupted_and_resumed_capnet_ends_with_the_same_weights(
    read, tmp_path, averaged
):
    """Augmentations in two workers, AdamW, schedule, sampler: bit for bit."""

    def make_runner(work_dir, resume=False):
        cfg = read("capnet_custom.py")
        cfg.work_dir = str(tmp_path / work_dir)
        cfg.train_dataloader.num_workers = 2
        cfg.train_cfg.max_epochs = 3
        if averaged:
            cfg.custom_hooks.append(dict(type="EMAHook", momentum=0.3))
        cfg.resume = resume
        return Runner.from_cfg(cfg)

    make_runner("straight").train()
    straight = torch.load(tmp_path / "straight" / "epoch_3.pth")

    interrupted = make_runner("resumed")
    interrupted.register_hook(PowerCut(iteration=3))  # the middle of epoch 2
    with pytest.raises(KeyboardInterrupt):
        interrupted.train()
    last = (tmp_path / "resumed" / "last_checkpoint").read_text()
    assert last.endswith("epoch_1.pth")
    first = torch.load(last)["state_dict"]

    make_runner("resumed", resume=True).train()
    resumed = torch.load(tmp_path / "resumed" / "epoch_3.pth")
    assert ("ema_state_dict" in resumed) == averaged
    for key in ("state_dict", "ema_state_dict")[: 1 + averaged]:
        left, right = straight[key], resumed[key]
        assert left.keys() == right.keys()
        assert [n for n in left if not torch.equal(left[n], right[n])] == []
    context = "head.prompt.context"
    assert not torch.equal(first[context], resumed["state_dict"][context])


@pytest.mark.parametrize("tta", [False, True])
def test_averaged_weights_score_as_those_of_the_checkpoint(read, tmp_path, tta):
    """EMAHook exchanges weights in place, behind the cached class embeddings."""

    def make_runner(averaged=True, checkpoint=None):
        cfg = read("capnet_custom.py")
        if averaged:
            cfg.custom_hooks.append(dict(type="EMAHook", momentum=0.3))
        cfg.load_from = checkpoint
        if tta and checkpoint:
            apply_tta(cfg)
        runner = Runner.from_cfg(cfg)
        logits = Logits()
        runner.register_hook(logits)
        return runner, logits

    trained, validated = make_runner()
    trained.train()
    path = str(tmp_path / "epoch_2.pth")
    checkpoint = torch.load(path)
    context = checkpoint["state_dict"]["head.prompt.context"]
    current = checkpoint["ema_state_dict"]["module.head.prompt.context"]
    assert not torch.equal(context, current)

    plain, expected = make_runner(averaged=False, checkpoint=path)
    plain.test()
    with_hook, found = make_runner(checkpoint=path)
    with_hook.test()
    torch.testing.assert_close(found.seen, expected.seen, rtol=0, atol=0)
    if not tta:  # both epochs' validation: the second was of the saved weights
        last = validated.seen[-len(expected.seen) :]
        torch.testing.assert_close(last, expected.seen, rtol=0, atol=0)


class Logits(Hook):
    """Keeps what the model predicts."""

    def __init__(self):
        self.seen = []

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen += [sample.pred_logits for sample in outputs]

    after_test_iter = after_val_iter


class PowerCut(Hook):
    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.iteration:
            raise KeyboardInterrupt
