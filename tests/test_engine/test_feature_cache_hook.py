"""Training on cached features: the same model, samples and scores as on pixels."""

import itertools
import random

import numpy as np
import pytest
import torch
from conftest import VISION_CONFIGS
from mmengine.config import ConfigDict
from mmengine.runner import Runner
from PIL import Image

from capnet_mm.datasets.transforms import LoadCachedFeatures, LoadImage
from capnet_mm.models import CLIPBackbone

JOINT = dict(type="ScaleShift", space="joint")
LINES = ("0.png 0 1", "1.png 1 ?2", "2.png", "3.png 0 2", "4.png 2")
SIZES = {name: vision["image_size"] for name, vision in VISION_CONFIGS.items()}
SIZES["timm_vit"] = 224  # timm's own, whatever open_clip says
ADAM = dict(type="AdamW", lr=0.05)
_numbers = itertools.count()


@pytest.fixture
def data_root(tmp_path):
    """Five images of noise with blobs, some labels unknown."""
    root = tmp_path / "data"
    root.mkdir()
    rng = np.random.default_rng(0)
    for index in range(len(LINES)):
        pixels = np.kron(rng.integers(0, 256, (10, 12, 3)), np.ones((8, 8, 1)))
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"{index}.png")
    (root / "classes.txt").write_text("dog\ncat\ntvmonitor\n")
    (root / "train.txt").write_text("\n".join(LINES))
    (root / "val.txt").write_text("\n".join(LINES[1:4]))
    return root


@pytest.fixture
def make_runner(data_root, clips, tmp_path):
    """Builds a runner for two epochs; ``views=None``: on the images themselves."""

    def make(
        vision="timm",
        views=None,
        adapter=JOINT,
        tta=False,
        head=(),
        data=(),
        optimizer=ADAM,
        **run,
    ):
        size = SIZES[vision]
        load, pack = dict(type="LoadImage"), dict(type="PackInputs")
        resize = dict(type="FastResizeEdge", scale=size + 8)
        crops = [
            dict(type="FixedCrop", crop_size=size, position=position)
            for position in ("center", "bottom_left")
        ]
        ways = dict(type="TestTimeAug", transforms=[crops, [pack]])
        flip = dict(type="RandomFlip", prob=0.5)
        test = [load, resize, ways] if tta else [load, resize, crops[0], pack]
        dataset = dict(type="ImageListDataset", data_root=str(data_root))
        head = dict(
            classes=["dog", "cat", "tvmonitor"], prompt=None, gcn=None, bias=0.0,
            **{"pooling": dict(type="ClassPooling", temperature=0.1), **dict(head)},
        )  # fmt: skip
        model = dict(
            type="CLIPClassifier",
            clip=dict(model=clips[vision]),
            backbone=dict(adapter=adapter),
            head=head,
        )
        if tta:
            model = dict(type="TestTimeEnsemble", module=model)
        hooks = [dict(type="ClassCountsHook"), dict(type="EpochSeedHook")]
        hooks.append(dict(type="TrainableCheckpointHook"))
        if views is not None:
            cache_dir = str(tmp_path / "cache")
            hook = dict(type="FeatureCacheHook", cache_dir=cache_dir)
            hooks.append(dict(hook, views=views, crop_size=size))
        loader = dict(
            batch_size=2,
            num_workers=0,
            collate_fn=dict(type="pseudo_collate" if tta else "default_collate"),
        )
        val = dict(
            dataset, ann_file="val.txt", train_ann_file="train.txt", test_mode=True
        )
        return Runner.from_cfg(
            ConfigDict(
                model=model,
                work_dir=str(tmp_path / "work"),
                train_dataloader=dict(
                    loader,
                    sampler=dict(type="DefaultSampler", shuffle=True),
                    dataset={
                        **dataset,
                        "ann_file": "train.txt",
                        "pipeline": [load, resize, crops[0], flip, pack],
                        **dict(data),
                    },
                ),
                test_dataloader=dict(
                    loader,
                    sampler=dict(type="DefaultSampler", shuffle=False),
                    dataset=dict(val, pipeline=test),
                ),
                train_cfg=dict(by_epoch=True, max_epochs=2),
                test_cfg=dict(),
                test_evaluator=dict(type="LongTailMAP"),
                optim_wrapper=dict(optimizer=optimizer),
                custom_hooks=hooks,
                default_scope="mmpretrain",
                randomness=dict(seed=0),
                experiment_name=f"cache{next(_numbers)}-{random.random()}",
                **run,
            )
        )

    return make


def logits(runner):
    """What a test says of the images of val.txt."""
    found = []
    evaluator = runner.build_evaluator(runner._test_evaluator)
    evaluator.process = lambda data_samples, data_batch: found.extend(data_samples)
    evaluator.evaluate = lambda size: {}
    runner._test_evaluator = evaluator
    runner.test()
    return torch.stack([sample.pred_logits for sample in found])


@pytest.mark.parametrize(
    ("vision", "head"),
    [
        ("timm", {}),
        ("resnet", {}),
        ("vit", {}),
        ("timm_vit", {}),
        ("vit", dict(pooling=None)),
    ],
)
def test_a_checkpoint_trained_on_features_gives_the_same_scores_on_pixels(
    make_runner, tmp_path, vision, head
):
    runner = make_runner(vision, views=(SIZES[vision],), head=head)
    runner.train()
    layer = runner.model.backbone.visual.scale_shift
    assert (layer.scale - 1).abs().max() > 0.01  # it was trained
    checkpoint = str(tmp_path / "work" / "epoch_2.pth")
    saved = torch.load(checkpoint)["state_dict"]
    on_pixels = make_runner(vision, head=head, load_from=checkpoint)
    assert saved.keys() <= on_pixels.model.state_dict().keys()
    scores = logits(on_pixels)
    assert scores.std() > 0.1
    cached = logits(make_runner(vision, (64,), head=head, load_from=checkpoint))
    assert not torch.equal(cached, scores)
    torch.testing.assert_close(cached, scores, atol=0.05, rtol=0)


def test_each_view_of_a_test_time_ensemble_is_cached(make_runner):
    scores = logits(make_runner(tta=True))
    single = logits(make_runner())
    cached = logits(make_runner(tta=True, views=(32,)))
    assert (single - scores).abs().max() > 0.05
    torch.testing.assert_close(cached, scores, atol=0.02, rtol=0)


def test_training_is_the_same_as_on_the_pixels_of_the_views(make_runner):
    """One view, the pixels' own: what is trained differs by the precision only."""
    fixed = dict(pipeline=[
        dict(type="LoadImage"),
        dict(type="FastResizeEdge", scale=32),
        dict(type="FixedCrop", crop_size=32),
        dict(type="PackInputs"),
    ])  # fmt: skip
    trained = []
    for views in (None, (32,)):
        runner = make_runner(
            views=views, data=fixed, optimizer=dict(type="SGD", lr=0.1)
        )
        runner.train()
        weights = runner.model.state_dict()
        keys = [key for key in weights if "scale_shift" in key or "logit_" in key]
        trained.append(torch.cat([weights[key].flatten() for key in sorted(keys)]))
    assert len(trained[0]) == 2 * 16 + 2
    assert (trained[0][-16:] - 1).abs().max() > 0.05  # scales have moved
    torch.testing.assert_close(*trained, atol=5e-3, rtol=0.02)


def test_samples_have_the_labels_and_names_of_the_images(make_runner):
    runners = [make_runner(views=views) for views in (None, (32,))]
    samples = []
    for runner in runners:
        runner.train()
        dataset = runner.train_dataloader.dataset
        samples.append([dataset[index]["data_samples"] for index in range(len(LINES))])
    loads = runners[1].train_dataloader.dataset.pipeline.transforms[0]
    assert isinstance(loads, LoadCachedFeatures)
    for pixels, cached in zip(*samples, strict=True):
        assert pixels.gt_label.tolist() == cached.gt_label.tolist()
        assert pixels.gt_score.tolist() == cached.gt_score.tolist()
        assert pixels.img_path == cached.img_path
        assert pixels.sample_idx == cached.sample_idx
    first, second = (runner.train_dataloader.dataset.metainfo for runner in runners)
    assert first == second
    assert runners[0].model.head.loss_module.class_counts.tolist() == (
        runners[1].model.head.loss_module.class_counts.tolist()
    )


def test_a_second_run_reads_no_pixels_and_runs_no_tower(make_runner, monkeypatch):
    make_runner(views=(32, 40)).train()
    for owner, name in ((CLIPBackbone, "_encode"), (LoadImage, "transform")):
        monkeypatch.setattr(owner, name, lambda *args: pytest.fail("it was run"))
    runner = make_runner(views=(32, 40))
    runner.train()
    assert runner.train_dataloader.num_workers == 0


def test_without_a_folder_the_images_are_trained_on(make_runner, monkeypatch):
    runner = make_runner(views=())  # which could not be cached
    for hook in runner.hooks:
        if type(hook).__name__ == "FeatureCacheHook":
            hook.cache_dir = None
    runner.train()
    assert isinstance(runner.train_dataloader.dataset.pipeline.transforms[0], LoadImage)


@pytest.mark.parametrize(
    "adapter", [dict(type="BiasTuning"), dict(type="ScaleShift"), "auto"]
)
def test_what_is_trained_inside_the_tower_is_refused(make_runner, adapter):
    runner = make_runner(views=(32,), adapter=adapter)
    with pytest.raises(ValueError, match="space='joint'.* or adapter=None"):
        runner.train()


def test_corrupt_images_are_skipped_or_stop_as_without_a_cache(make_runner, data_root):
    (data_root / "4.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"Cannot decode the image .*4\.png"):
        make_runner(views=(32,)).train()
    runner = make_runner(views=(32,), data=dict(corrupt_images="skip"))
    runner.train()
    (skipped,) = runner.train_dataloader.dataset.skipped_images
    assert str(skipped).endswith("4.png")
