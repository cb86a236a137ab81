from pathlib import Path

import pytest
import torch
from mmengine.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
)
from mmengine.evaluator import Evaluator
from mmengine.hooks import EMAHook
from torch import nn
from torch.utils.data import ConcatDataset as TorchConcatDataset
from torch.utils.data import Subset

from capnet_mm.engine import ClassCountsHook

META = dict(classes=("cat", "dog"), class_counts=(3, 9), num_images=12)


class CountingLoss(nn.Module):
    """Takes counts as a loss does: of a size that it did not know before."""

    def __init__(self):
        super().__init__()
        self.register_buffer("class_counts", torch.zeros(0))
        self.num_images = 0

    def set_class_counts(self, class_counts, num_images):
        self.class_counts = torch.tensor(class_counts, dtype=torch.float32)
        self.num_images = num_images


class Points(BaseDataset):
    """A dataset that MMEngine's wrappers take."""

    def load_data_list(self):
        return [dict(inputs=torch.ones(4)) for _ in range(12)]

    def prepare_data(self, idx):
        return dict(inputs=torch.full((4,), float(idx)))

    def get_cat_ids(self, idx):
        return [idx % 2]


@pytest.fixture
def make_model(toy):
    def make(classes=None):
        model = toy.Model()
        model.head = nn.Module()
        model.head.loss_module = CountingLoss()
        if classes is not None:
            model.head.classes = classes
        return model

    return make


def trained_counts(runner):
    runner.train()
    loss = runner.model.head.loss_module
    return loss.class_counts.tolist(), loss.num_images


def test_a_loss_gets_the_counts_of_the_training_dataset(make_runner, make_model, toy):
    runner = make_runner(
        [ClassCountsHook()], make_model(), dataset=toy.Dataset(**META), epochs=1
    )
    assert trained_counts(runner) == ([3, 9], 12)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda part: RepeatDataset(part, times=3),
        lambda part: ClassBalancedDataset(part, oversample_thr=0.9),
    ],
)
def test_wrappers_that_repeat_images_leave_counts_as_they_are(
    make_runner, make_model, wrap
):
    dataset = wrap(Points(metainfo=META, serialize_data=False))
    runner = make_runner([ClassCountsHook()], make_model(), dataset=dataset, epochs=1)
    assert trained_counts(runner) == ([3, 9], 12)


def test_counts_of_concatenated_datasets_are_added(make_runner, make_model):
    other = dict(META, class_counts=(5, 0), num_images=20)
    dataset = ConcatDataset(
        [Points(metainfo=META), Points(metainfo=other)],
        ignore_keys=["class_counts", "num_images"],
    )
    runner = make_runner([ClassCountsHook()], make_model(), dataset=dataset, epochs=1)
    assert trained_counts(runner) == ([8, 9], 32)


def test_counts_get_into_the_checkpoint_and_do_not_disturb_ema(
    make_runner, make_model, toy
):
    runner = make_runner(
        [ClassCountsHook(), EMAHook()],
        make_model(),
        dataset=toy.Dataset(**META),
        validate=True,
        epochs=1,
    )
    runner.train()
    saved = torch.load(Path(runner.work_dir, "epoch_1.pth"))
    for key, prefix in (("state_dict", ""), ("ema_state_dict", "module.")):
        counts = saved[key][prefix + "head.loss_module.class_counts"]
        assert counts.tolist() == [3, 9]


def test_counts_of_the_training_dataset_come_before_those_of_a_loaded_checkpoint(
    make_runner, make_model, toy, tmp_path
):
    first = make_runner(
        [ClassCountsHook()], make_model(), dataset=toy.Dataset(**META), epochs=1
    )
    first.train()
    other = dict(META, class_counts=(1, 4), num_images=5)
    second = make_runner(
        [ClassCountsHook()],
        make_model(),
        dataset=toy.Dataset(**other),
        epochs=1,
        work_dir=tmp_path / "second",
        load_from=str(Path(first.work_dir, "epoch_1.pth")),
    )
    assert trained_counts(second) == ([1, 4], 5)


@pytest.mark.parametrize("lacking", ["class_counts", "num_images"])
def test_a_dataset_without_counts_is_refused_by_name(
    make_runner, make_model, toy, lacking
):
    metainfo = {key: value for key, value in META.items() if key != lacking}
    dataset = toy.Dataset(**metainfo)
    runner = make_runner([ClassCountsHook()], make_model(), dataset=dataset)
    with pytest.raises(ValueError, match=f"Dataset does not state {lacking}.*loss_mod"):
        runner.train()


def test_a_model_that_needs_no_counts_trains_on_any_dataset(make_runner):
    runner = make_runner([ClassCountsHook()], epochs=1)
    runner.train()
    assert runner.iter == 3


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("cat", "dog", "cow"), r"training data set.*model's head.*latter: \['cow'\]"),
        (("cat", "cow"), r"former: \['dog'\]; only in the latter: \['cow'\]"),
    ],
)
def test_a_head_for_other_classes_than_the_dataset_is_refused(
    make_runner, make_model, toy, classes, message
):
    runner = make_runner(
        [ClassCountsHook()], make_model(classes), dataset=toy.Dataset(**META)
    )
    with pytest.raises(ValueError, match=message):
        runner.train()


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("cat", "dog", "cow"), "for the 2 classes .*model's head has the 3 classes"),
        (("dog", "cat"), r"\['cat', 'dog'\]; the model's head .*\['dog', 'cat'\]"),
    ],
)
def test_a_checkpoint_for_other_classes_is_refused_and_nothing_is_overwritten(
    make_runner, make_model, toy, classes, message
):
    def make(classes, **kwargs):
        dataset = toy.Dataset(**dict(META, classes=classes))
        hooks = [ClassCountsHook()]
        return make_runner(hooks, make_model(classes), dataset=dataset, **kwargs)

    first = make(("cat", "dog"), epochs=1)
    first.train()
    files = [p for p in Path(first.work_dir).iterdir() if p.is_file()]
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files}
    assert Path(first.work_dir, "epoch_1.pth") in before

    second = make(classes, epochs=2, resume=True)
    weights = second.model.trained.weight.clone()
    with pytest.raises(ValueError, match=message):
        second.train()
    assert torch.equal(second.model.trained.weight, weights)
    for path, (time, content) in before.items():
        if path.suffix != ".py":  # MMEngine's runner dumps its config on creation
            assert (path.stat().st_mtime_ns, path.read_bytes()) == (time, content)


def test_a_test_run_does_not_build_the_training_dataset(make_runner, make_model, toy):
    class Unreadable(toy.Dataset):
        def __len__(self):
            raise AssertionError("the training dataset was used")

    sampler = dict(type="DefaultSampler", shuffle=False)
    runner = make_runner(
        [ClassCountsHook()],
        make_model(("cat", "dog")),
        dataset=Unreadable(),
        test_dataloader=dict(dataset=toy.Dataset(), sampler=sampler, batch_size=4),
        test_cfg=dict(),
        test_evaluator=Evaluator(toy.Metric()),
    )
    assert runner.test()["toy/count"] == 12


@pytest.mark.parametrize(
    "wrap",
    [
        lambda part: Subset(part, range(12)),
        lambda part: TorchConcatDataset([part, part]),
    ],
)
def test_classes_of_a_training_set_in_pytorchs_wrapper_order_all_sets_and_are_saved(
    make_runner, make_model, wrap
):
    other = dict(META, classes=("dog", "cat"), class_counts=(9, 3))
    sampler = dict(type="DefaultSampler", shuffle=False)

    def loader():
        return dict(dataset=Points(metainfo=other), sampler=sampler, batch_size=4)

    def evaluation(name):
        return {
            f"{name}_dataloader": loader(),
            f"{name}_cfg": dict(),
            f"{name}_evaluator": Evaluator([]),
        }

    runner = make_runner(
        [ClassCountsHook()],
        make_model(),
        dataset=wrap(Points(metainfo=META)),
        epochs=1,
        **evaluation("val"),
    )
    runner.train()
    assert runner.val_dataloader.dataset.metainfo["classes"] == ("cat", "dog")

    checkpoint = Path(runner.work_dir, "epoch_1.pth")
    saved = torch.load(checkpoint)["meta"]["dataset_meta"]
    assert saved == dict(classes=("cat", "dog"))
    test = make_runner(
        [ClassCountsHook()],
        make_model(),
        load_from=str(checkpoint),
        **evaluation("test"),
    )
    test.test()
    assert test.test_dataloader.dataset.metainfo["classes"] == ("cat", "dog")
    assert test.test_dataloader.dataset.metainfo["class_counts"] == (3, 9)


@pytest.fixture
def unknown():
    """A list with unknown labels, as far as the hook looks at it."""
    dataset = Points(metainfo=META)
    dataset.gives_scores = True
    return dataset


def test_unknown_labels_beside_batch_augmentations_are_refused(
    make_runner, make_model, unknown
):
    model = make_model()
    model.head.takes_unknown = True
    make_runner([ClassCountsHook()], model, dataset=unknown, epochs=1).train()

    model.data_preprocessor.batch_augments = object()
    runner = make_runner([ClassCountsHook()], model, dataset=unknown, epochs=1)
    with pytest.raises(ValueError, match="Mixup, CutMix. would mix their -1"):
        runner.train()


@pytest.mark.parametrize("concatenate", [ConcatDataset, TorchConcatDataset])
def test_all_parts_give_scores_where_one_has_unknown_labels(
    make_runner, make_model, unknown, concatenate
):
    known = Points(metainfo=META)
    known.gives_scores = False
    model = make_model()
    model.head.takes_unknown = True
    dataset = concatenate([known, unknown])
    runner = make_runner([ClassCountsHook()], model, dataset=dataset, epochs=1)
    runner.train()
    parts = runner.train_dataloader.dataset.datasets
    assert [part.gives_scores for part in parts] == [True, True]
