"""Folds: what is left out stays left out, and the main run is as without them."""

import copy
import json
import sys

import numpy as np
import pytest
import torch
from conftest import in_processes
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from capnet_mm.engine import CrossFitHook

NAMES = ("dog", "cat")


def run_config(tiny_clip, data_root, work_dir, **options):
    pipeline = [
        dict(type="LoadImage"),
        dict(type="CenterCrop", crop_size=32),
        dict(type="PackInputs"),
    ]
    dataset = dict(
        type="ImageListDataset",
        data_root=str(data_root),
        ann_file="train.txt",
        pipeline=pipeline,
    )
    head = dict(
        classes=NAMES, prompt=None, graph=None, gcn=dict(type="TaskResidual"),
        visual={}, prior={}, loss=dict(type="CrossEntropyLoss", use_sigmoid=True),
    )  # fmt: skip
    return dict(
        model=dict(
            type="CLIPClassifier", clip=dict(model=tiny_clip), backbone={}, head=head
        ),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            dataset=dataset,
            sampler=dict(type="DefaultSampler", shuffle=True),
            collate_fn=dict(type="default_collate"),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-2)),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook")),
        custom_hooks=[dict(type="ClassCountsHook")],
        default_scope="mmpretrain",
        randomness=dict(seed=0),
        **options,
    )


@pytest.fixture
def data_root(tmp_path):
    import cv2

    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "classes.txt").write_text("dog\ncat\n")
    random = np.random.RandomState(0)
    lines = []
    for index in range(12):
        image = random.randint(0, 255, (40, 40, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), image)
        lines.append(f"{index}.png {index % 2}")
    (folder / "train.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def train(tiny_clip, data_root, tmp_path):
    def run(*hooks, name="run", **options):
        config = run_config(tiny_clip, data_root, tmp_path / name, **options)
        config["custom_hooks"] += hooks
        runner = Runner(**copy.deepcopy(config), cfg=copy.deepcopy(config))
        runner.train()
        return runner

    return run


def test_the_fusion_is_fitted_and_the_trained_weights_are_those_without_folds(train):
    plain = train(name="plain").model.state_dict()
    runner = train(dict(type="CrossFitHook", folds=3, passes=1), name="folds")
    fitted = runner.model.state_dict()
    assert runner.model.head.fusion.fitted
    assert MMLogger.get_current_instance() is runner.logger
    for key, value in plain.items():
        if not key.startswith("head.fusion."):
            assert torch.equal(value, fitted[key]), key


def test_evidence_comes_from_models_that_have_not_seen_the_image(train, monkeypatch):
    trained, scored = [], []
    train_fold, score_fold = CrossFitHook._train, CrossFitHook._score

    def note_training(self, runner, subset, fold):
        trained.append([subset[i]["data_samples"].img_path for i in range(len(subset))])
        return train_fold(self, runner, subset, fold)

    def note_scoring(self, runner, model, subset):
        scored.append([subset[i]["data_samples"].img_path for i in range(len(subset))])
        return score_fold(self, runner, model, subset)

    monkeypatch.setattr(CrossFitHook, "_train", note_training)
    monkeypatch.setattr(CrossFitHook, "_score", note_scoring)
    train(dict(type="CrossFitHook", folds=3, passes=1))
    assert len(trained) == 3
    for seen, left_out in zip(trained, scored, strict=True):
        assert not set(seen) & set(left_out)
        assert len(seen) + len(left_out) == 12
    assert len({path for paths in scored for path in paths}) == 12


def test_a_fit_that_a_checkpoint_brings_is_kept(train, tmp_path):
    hook = dict(type="CrossFitHook", folds=2, passes=1)
    first = train(hook, name="first").model.head.fusion
    checkpoint = str(tmp_path / "first" / "epoch_1.pth")
    again = train(dict(hook, folds=4), name="again", load_from=checkpoint)
    assert torch.equal(first.weight, again.model.head.fusion.weight)


def test_of_fewer_images_than_folds_each_is_a_fold(train, monkeypatch):
    folds = []
    monkeypatch.setattr(CrossFitHook, "_train", lambda *args: folds.append(args))
    evidence = torch.randn(3, 1, 2), torch.tensor([[1, 0]])
    monkeypatch.setattr(CrossFitHook, "_score", lambda *args: evidence)
    train(dict(type="CrossFitHook", folds=20))
    assert len(folds) == 12


def test_two_processes_fit_what_one_fits(tiny_clip, data_root, tmp_path):
    arguments = tiny_clip, str(data_root), str(tmp_path)
    (one,) = in_processes(1, __file__, *arguments)
    for other in in_processes(2, __file__, *arguments):
        torch.testing.assert_close(
            torch.tensor(other), torch.tensor(one), rtol=1e-3, atol=1e-4
        )


def test_senseless_numbers_are_refused():
    with pytest.raises(ValueError, match="at least 2 folds"):
        CrossFitHook(folds=1)


def main(tiny_clip, data_root, work_dir):
    """Print the fusion's weights, of folds that train their prompts."""
    torch.distributed.init_process_group("gloo")
    config = run_config(tiny_clip, data_root, work_dir)
    config["model"]["head"].update(prompt=dict(num_context=2), gcn=None)
    config["optim_wrapper"] = dict(optimizer=dict(type="SGD", lr=1.0))
    runner = Runner(**copy.deepcopy(config), cfg=copy.deepcopy(config))
    CrossFitHook(folds=2, passes=1).before_train(runner)
    print()
    print(json.dumps(runner.model.head.fusion.weight.tolist()))


if __name__ == "__main__":
    main(*sys.argv[1:])
