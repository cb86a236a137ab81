"""ClassAwareSampler: turns, epochs, processes, wrappers."""

import json
from collections import Counter

import numpy as np
import pytest
from conftest import in_processes
from mmengine.config import Config
from mmengine.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
)
from mmengine.registry import DATA_SAMPLERS as MMENGINE_SAMPLERS
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.datasets import KFoldDataset
from torch.utils.data import Subset

from capnet_mm.datasets import ClassAwareSampler, ImageListDataset
from capnet_mm.datasets.samplers import class_aware_sampler

init_default_scope("mmpretrain")

# Class 0 is in 12 images, 1 in 5, 2 in 2, class 3 in none, 4 in 1; one has none.
LABELS = [[0]] * 7 + [[0, 1]] * 5 + [[2]] * 2 + [[]] + [[4]]
IMAGES = {0: set(range(12)), 1: set(range(7, 12)), 2: {12, 13}, 4: {15}}


class Labels:
    """A data set that knows its labels only."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def get_cat_ids(self, index):
        return self.labels[index]


@pytest.fixture
def processes(monkeypatch):
    """Makes the samplers of all processes of a group."""

    def make(world_size, *args, **options):
        samplers = []
        for rank in range(world_size):
            monkeypatch.setattr(
                class_aware_sampler,
                "get_dist_info",
                lambda rank=rank: (rank, world_size),
            )
            samplers.append(ClassAwareSampler(*args, **options))
        return samplers

    return make


def turns_of(sampler):
    """The epoch in pieces of one turn."""
    indices, size = list(sampler), sampler.images_per_turn
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def class_of(turn):
    """The class whose turn it is; class 1's images are also of class 0."""
    return min(IMAGES, key=lambda c: (not set(turn) <= IMAGES[c], len(IMAGES[c])))


def test_epoch_is_largest_count_times_classes_with_images_over_divisor():
    data = Labels(LABELS)
    # 12 images of class 0, and four classes that have images.
    assert len(ClassAwareSampler(data, seed=0)) == 12 * 4 // 4
    assert len(ClassAwareSampler(data, epoch_divisor=1, seed=0)) == 48
    assert len(ClassAwareSampler(data, epoch_divisor=5, seed=0)) == 9  # of 9.6
    assert len(ClassAwareSampler(data, epoch_divisor=1000, seed=0)) == 1
    for divisor in (1, 4, 5):
        sampler = ClassAwareSampler(data, epoch_divisor=divisor, seed=0)
        assert len(list(sampler)) == len(sampler)


def test_every_class_with_images_has_one_turn_in_each_round():
    # Classes that share no image, so that an image tells whose turn it is.
    labels = [[0]] * 9 + [[2]] * 4 + [[]] + [[3]]
    images = {0: set(range(9)), 2: set(range(9, 13)), 3: {14}}
    sampler = ClassAwareSampler(Labels(labels), epoch_divisor=0.25, seed=3)
    turns = turns_of(sampler)
    assert len(turns) == 9 * 3 * 4 / 3
    owners = [next(c for c in images if set(turn) <= images[c]) for turn in turns]
    rounds = [tuple(owners[start : start + 3]) for start in range(0, len(owners), 3)]
    assert all(sorted(order) == [0, 2, 3] for order in rounds)
    assert len(set(rounds)) > 1  # the order is shuffled anew


@pytest.mark.parametrize("images_per_turn", [1, 3, 5])
def test_a_class_goes_through_all_its_images_before_one_comes_again(images_per_turn):
    labels = [[0]] * 8 + [[1]] * 5
    sampler = ClassAwareSampler(
        Labels(labels), images_per_turn=images_per_turn, epoch_divisor=0.1, seed=0
    )
    for images in (range(8), range(8, 13)):
        stream = [index for index in sampler if index in images]
        size = len(images)
        passes = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert len(passes) > 5
        assert all(sorted(one) == list(images) for one in passes[:-1])
        assert len(set(map(tuple, passes))) > 1  # shuffled anew


def test_images_come_as_often_as_the_turns_of_their_classes_say():
    sampler = ClassAwareSampler(Labels(LABELS), epoch_divisor=0.01, seed=0)
    seen = Counter(sampler)
    per_class = len(sampler) / 4
    assert set(seen) == set(range(16)) - {14}  # not the one without a label
    for index, labels in enumerate(LABELS):
        expected = sum(per_class / len(IMAGES[label]) for label in labels)
        assert seen[index] == pytest.approx(expected, abs=6)


def test_a_turn_of_a_class_gives_its_images_only():
    for turn in turns_of(ClassAwareSampler(Labels(LABELS), epoch_divisor=1, seed=0)):
        assert set(turn) <= IMAGES[class_of(turn)]


def test_epochs_and_seeds_differ_and_repeat():
    def epoch(seed, number):
        sampler = ClassAwareSampler(Labels(LABELS), epoch_divisor=0.5, seed=seed)
        sampler.set_epoch(number)
        return list(sampler)

    different = [epoch(0, 0), epoch(0, 1), epoch(1, 0), epoch(1, 1)]
    assert len(set(map(tuple, different))) == 4
    assert epoch(1, 1) == different[3]


def test_resumed_sampling_depends_on_the_epoch_and_on_nothing_before():
    data = Labels(LABELS)
    straight = ClassAwareSampler(data, seed=5)
    epochs = []
    for number in range(4):
        straight.set_epoch(number)
        epochs.append(list(straight))
    resumed = ClassAwareSampler(data, seed=5)
    next(iter(resumed))  # an epoch that was broken off
    resumed.set_epoch(3)
    assert list(resumed) == epochs[3]


@pytest.mark.parametrize("world_size", [2, 3, 5, 7])
def test_processes_take_disjoint_shares_of_one_sequence(processes, world_size):
    options = dict(epoch_divisor=1, seed=0)
    shares = processes(world_size, Labels(LABELS), **options)
    assert len({len(share) for share in shares}) == 1
    (alone,) = processes(1, Labels(LABELS), **options)
    for number in (0, 1):
        alone.set_epoch(number)
        for share in shares:
            share.set_epoch(number)
        parts = [list(share) for share in shares]
        assert {len(part) for part in parts} == {len(shares[0])}
        together = [index for batch in zip(*parts, strict=True) for index in batch]
        # One process sees the same sequence, but for what makes it divisible.
        assert 0 <= len(together) - len(alone) < world_size
        turns = [together[start : start + 3] for start in range(0, len(together), 3)]
        assert all(set(turn) <= IMAGES[class_of(turn)] for turn in turns)
        if len(together) == len(alone):
            assert together == list(alone)


def sequence_by_search(sampler):
    """The sequence of all processes, each class's turns searched for among all."""

    def cycle(items, length):
        rounds = -(-length // len(items))
        shuffled = rng.permuted(np.tile(items, (rounds, 1)), axis=1)
        return shuffled.reshape(-1)[:length]

    rng = np.random.default_rng((sampler.seed, sampler.epoch))
    size = sampler.images_per_turn
    turns = -(-sampler.total_size // size)
    turn_class = cycle(np.arange(len(sampler.class_images)), turns)
    sequence = np.empty((turns, size), dtype=np.int64)
    for index, images in enumerate(sampler.class_images):
        mine = turn_class == index
        sequence[mine] = cycle(images, int(mine.sum()) * size).reshape(-1, size)
    return sequence.reshape(-1)[: sampler.total_size].tolist()


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("divisor", [0.3, 4, 1000])  # 1000: classes without a turn
@pytest.mark.parametrize(("num_classes", "images_per_turn"), [(1, 3), (40, 1), (70, 5)])
def test_sequence_is_that_of_a_search_for_each_classes_turns(
    processes, world_size, divisor, num_classes, images_per_turn
):
    rng = np.random.default_rng(num_classes)
    labels = [rng.integers(0, num_classes, rng.integers(0, 4)) for _ in range(200)]
    options = dict(images_per_turn=images_per_turn, epoch_divisor=divisor, seed=9)
    for rank, share in enumerate(processes(world_size, Labels(labels), **options)):
        for number in (0, 3):
            share.set_epoch(number)
            assert list(share) == sequence_by_search(share)[rank::world_size]


class Comparisons(np.ndarray):
    """Counts the elements that are compared with ``==``."""

    elements = 0

    def __eq__(self, other):
        Comparisons.elements += self.size
        return super().__eq__(other)


def test_no_class_is_searched_for_among_all_turns(monkeypatch):
    original = class_aware_sampler._cycle
    monkeypatch.setattr(
        class_aware_sampler,
        "_cycle",
        lambda items, *args: original(items, *args).view(Comparisons),
    )
    list(ClassAwareSampler(Labels([[c] for c in range(50)] * 4), seed=0))
    assert Comparisons.elements == 0


def test_processes_agree_on_a_seed_that_none_was_given():
    """Two real processes: each prints its share of the first two epochs."""
    shares = in_processes(2, __file__)
    assert shares[0]["seed"] == shares[1]["seed"]
    alone = ClassAwareSampler(Labels(LABELS), seed=shares[0]["seed"])
    for number in (0, 1):
        alone.set_epoch(number)
        assert shares[0]["epochs"][number] == list(alone)[::2]
        assert shares[1]["epochs"][number] == list(alone)[1::2]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\ndog\ncow\n")
    (tmp_path / "train.txt").write_text("a.jpg 0\nb.jpg 0 1\nc.jpg ?1\nd.jpg 0 ?2\n")
    return tmp_path


def image_list(root):
    return ImageListDataset("train.txt", data_root=str(root), check_images=False)


def class_images(dataset):
    sampler = ClassAwareSampler(dataset, seed=0)
    return [images.tolist() for images in sampler.class_images]


def test_only_known_positives_count_and_classes_without_them_are_skipped(root):
    assert class_images(image_list(root)) == [[0, 1, 3], [1]]


def test_mmengines_wrappers_are_seen_through(root):
    data = image_list(root)
    assert class_images(RepeatDataset(data, 2)) == [[0, 1, 3, 4, 5, 7], [1, 5]]
    twice = dict(type="RepeatDataset", dataset=image_list(root), times=2)
    joined = ConcatDataset([data, twice])
    assert class_images(joined) == [[0, 1, 3, 4, 5, 7, 8, 9, 11], [1, 5, 9]]
    # Class 1 is in one of four images: sqrt(1 / 0.25) = 2 times, cat twice too.
    balanced = ClassBalancedDataset(data, oversample_thr=1.0)
    assert balanced.repeat_indices == [0, 0, 1, 1, 2, 3, 3]
    assert class_images(balanced) == [[0, 1, 2, 3, 5, 6], [2, 3]]


def test_subsets_and_folds_count_their_own_images(root):
    data = image_list(root)
    assert class_images(Subset(data, [3, 1, 2])) == [[0, 1], [1]]
    twice = RepeatDataset(data, 2)  # eight images: a, b, c, d and again
    assert class_images(Subset(Subset(twice, [7, 5, 2]), [1, 2])) == [[0], [0]]
    options = dict(ann_file="train.txt", data_root=str(root), check_images=False)
    config = dict(type="ImageListDataset", **options)
    fold = KFoldDataset(config, fold=0, num_splits=2, test_mode=True)
    assert class_images(fold) == [[0, 1], [1]]  # a.jpg and b.jpg


def test_runner_builds_it_from_a_config_with_its_own_seed(root):
    loader = Runner.build_dataloader(
        Config(
            dict(
                batch_size=2,
                dataset=dict(
                    type="ImageListDataset",
                    ann_file="train.txt",
                    data_root=str(root),
                    check_images=False,
                ),
                sampler=dict(type="ClassAwareSampler", epoch_divisor=1),
            )
        ),
        seed=11,
    )
    assert type(loader.sampler) is ClassAwareSampler
    assert loader.sampler.seed == 11
    assert len(loader) == 3 * 2 / 2
    assert "ClassAwareSampler" not in MMENGINE_SAMPLERS.module_dict


class Silent(BaseDataset):
    """MMEngine's own data set: it has get_cat_ids, which only raises."""

    def load_data_list(self):
        return [dict(img_path="a.jpg")]


@pytest.mark.parametrize("dataset", [[1, 2, 3], RepeatDataset(Silent(), 2), Silent()])
def test_data_sets_that_cannot_tell_classes_are_refused(dataset):
    with pytest.raises(ValueError, match=r"(list|Silent) has no get_cat_ids"):
        ClassAwareSampler(dataset, seed=0)


def test_wrong_arguments_and_lists_without_labels_are_refused():
    with pytest.raises(ValueError, match="No image .* has a label"):
        ClassAwareSampler(Labels([[], []]), seed=0)
    with pytest.raises(ValueError, match="images_per_turn .* got 0"):
        ClassAwareSampler(Labels(LABELS), images_per_turn=0)
    with pytest.raises(ValueError, match="epoch_divisor .* got 0"):
        ClassAwareSampler(Labels(LABELS), epoch_divisor=0)


if __name__ == "__main__":  # one of the two processes
    from torch import distributed

    distributed.init_process_group("gloo")
    sampler = ClassAwareSampler(Labels(LABELS))
    epochs = []
    for number in range(2):
        sampler.set_epoch(number)
        epochs.append(list(sampler))
    print()
    print(json.dumps(dict(seed=int(sampler.seed), epochs=epochs)))
    distributed.destroy_process_group()
