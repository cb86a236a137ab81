"""The hook, on runners of a tiny CLIP; as a script, in two processes."""

import json
import sys

import pytest
import torch
from conftest import in_processes
from mmengine.dataset import default_collate
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.nn import functional as F

from capnet_mm.engine import CalibratedStartHook
from capnet_mm.models.scale_and_bias import fit_scale_and_bias

CLASSES = ("dog", "cat", "hot air balloon")


class Pictures(torch.utils.data.Dataset):
    """Noise with labels, of which one in seven is unknown."""

    metainfo = dict(classes=CLASSES)

    def __len__(self):
        return 12

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        pixels = torch.randint(256, (3, 32, 32), generator=generator)
        labels = torch.randint(2, (3,), generator=generator)
        labels[torch.randint(7, (3,), generator=generator) == 0] = -1
        sample = DataSample().set_gt_score(labels.float())
        return dict(inputs=pixels.to(torch.uint8), data_samples=sample)


def build(clip, **head):
    torch.manual_seed(0)
    loss = dict(type="CrossEntropyLoss", use_sigmoid=True)
    head = dict(classes=CLASSES, prompt=dict(num_context=2), loss=loss, **head)
    return MODELS.build(dict(type="CLIPClassifier", clip=clip, backbone={}, head=head))


@pytest.fixture
def clip(tiny_clip):
    return dict(model=tiny_clip)


@pytest.fixture
def start(make_runner, clip):
    """Runs the hook ahead of training, with a rate of 0; returns runner and head."""

    def start(hook=None, model=None, **kwargs):
        model = build(clip, bias=-2.0) if model is None else model
        runner = make_runner(
            [hook or CalibratedStartHook(scale_range=(1e-6, 1e6))],
            model,
            dataset=Pictures(),
            epochs=1,
            optimizer=dict(type="SGD", lr=0.0),
            loader=dict(collate_fn=default_collate),
            **kwargs,
        )
        runner.train()
        return runner, model.head

    return start


def by_hand(model, indices):
    """The model's cosines, computed without its head's forward, and the targets."""
    pictures = [Pictures()[index] for index in indices]
    model.eval()
    with torch.no_grad():
        data = model.data_preprocessor(default_collate(pictures))
        features = F.normalize(model.backbone(data["inputs"])[-1], dim=-1)
        cosines = features @ model.head.class_embeddings().T
    return cosines, torch.stack([p["data_samples"].gt_score for p in pictures])


@pytest.mark.parametrize("number, indices", [(512, range(12)), (4, (0, 3, 6, 9))])
def test_scale_and_bias_are_those_of_the_chosen_pictures(
    start, clip, read_log, number, indices
):
    hook = CalibratedStartHook(number, scale_range=(0.1, 1e4))
    runner, head = start(hook)
    expected = fit_scale_and_bias(*by_hand(build(clip), indices), 1, (0.1, 1e4))
    assert 1 / float(head.temperature) == pytest.approx(expected.scale, rel=1e-3)
    assert head.logit_bias.item() == pytest.approx(float(expected.bias), rel=1e-3)

    log = read_log(runner)
    assert "CalibratedStartHook: 1/τ 10, b -2, now 1/τ" in log
    assert f"of {len(indices)} training images" in log
    assert f"now {expected.loss:.4f}." in log
    saved = torch.load(f"{runner.work_dir}/epoch_1.pth")["state_dict"]
    assert torch.equal(saved["head.logit_scale"], head.logit_scale)


def test_a_bias_for_every_class_gets_its_own(start, clip):
    model = build(clip, bias=-2.0)
    model.head.logit_bias = torch.nn.Parameter(torch.full((3,), -2.0))
    _, head = start(model=model)
    expected = fit_scale_and_bias(*by_hand(build(clip), range(12)), 3, (1e-6, 1e6))
    torch.testing.assert_close(
        head.logit_bias.double(), expected.bias, rtol=1e-3, atol=1e-4
    )


def test_without_bias_there_is_none_afterwards(start, clip):
    _, head = start(model=build(clip))
    assert head.logit_bias.tolist() == [0.0]


def test_pooling_over_places_is_part_of_the_cosines(start, clip):
    _, whole = start()
    _, places = start(model=build(clip, bias=-2.0, pooling=dict(temperature=0.01)))
    model = build(clip, bias=-2.0, pooling=dict(temperature=0.01)).eval()
    model.head.set_scale_and_bias(1.0, torch.zeros(1))
    batch = model.data_preprocessor(default_collate([Pictures()[i] for i in range(12)]))
    targets = torch.stack([Pictures()[i]["data_samples"].gt_score for i in range(12)])
    with torch.no_grad():
        logits = model(**batch)
    expected = fit_scale_and_bias(logits, targets, 1, (1e-6, 1e6))
    assert 1 / float(places.temperature) == pytest.approx(expected.scale, rel=1e-3)
    assert float(places.temperature) != pytest.approx(float(whole.temperature))


@pytest.mark.parametrize("resume", [True, False])
def test_what_a_checkpoint_says_is_kept(start, clip, resume, tmp_path):
    model = build(clip, bias=-2.0)
    runner, _ = start(CalibratedStartHook(4), work_dir=tmp_path / "first")
    model.head.set_scale_and_bias(7.0, torch.tensor([-3.0]))
    file = tmp_path / "checkpoint.pth"
    runner.model.load_state_dict(model.state_dict())
    runner.save_checkpoint(str(tmp_path), "checkpoint.pth")
    _, head = start(load_from=str(file), resume=resume)
    assert 1 / float(head.temperature) == pytest.approx(7)
    assert head.logit_bias.item() == -3


def test_other_heads_are_left_alone_and_the_log_says_so(make_runner, read_log):
    runner = make_runner([CalibratedStartHook()], epochs=1)
    runner.train()
    assert "CalibratedStartHook leaves the start as it is" in read_log(runner)


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="num_images=0: expected 1 or more"):
        CalibratedStartHook(0)


def test_two_processes_get_what_one_gets(clip):
    pairs = in_processes(2, __file__, clip["model"])
    assert pairs[0] == pairs[1]
    cosines, targets = by_hand(build(clip), [*range(0, 12, 2), *range(1, 12, 2)])
    expected = fit_scale_and_bias(cosines, targets, 1, (1e-6, 1e6))
    assert pairs[0] == pytest.approx([expected.scale, float(expected.bias)], rel=1e-3)


def main(clip):
    from types import SimpleNamespace

    torch.distributed.init_process_group("gloo")
    model = build(dict(model=clip), bias=-2.0)
    loader = torch.utils.data.DataLoader(Pictures(), collate_fn=default_collate)
    runner = SimpleNamespace(model=model, train_dataloader=loader)
    CalibratedStartHook(scale_range=(1e-6, 1e6)).before_train(runner)
    print()
    print(json.dumps([1 / float(model.head.temperature), model.head.logit_bias.item()]))


if __name__ == "__main__":
    main(sys.argv[1])
