"""Sampling by class instead of by image."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmpretrain.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from ..wrappers import image_labels


@DATA_SAMPLERS.register_module()
class ClassAwareSampler(Sampler):
    r"""Gives every class the same number of turns, however rare it is.

    In every round each class has one turn, in an order shuffled anew; in its turn
    it gives the next ``images_per_turn`` images of its own list, which is shuffled
    whenever it has been gone through. An epoch has

    .. math:: \lfloor C \max_c n_c / \text{epoch\_divisor} \rfloor

    images, with n_c counted over the images that the data set yields. Images of
    rare classes come again and again; frequent classes that are also in those
    images come more often than by their own turns, and an image without labels
    never comes. Images come by their known positives: labels that are unknown play
    no part.

    Source: Wu et al., *Distribution-Balanced Loss for Multi-Label Classification in
    Long-Tailed Datasets*, ECCV 2020, three images a turn and the divisor 4. Ours:
    classes without an image are left out of the turns and of C; and every epoch
    starts new shuffles from (seed, epoch), where theirs go on with the shuffles of the
    epoch before, so that resumed training samples as uninterrupted training does.

    All processes walk through the same sequence, and process k of K takes its
    elements k, k + K, …: disjoint shares, of the same length for all (the sequence
    goes on until it can be divided).

    Args:
        dataset (Dataset): A data set with ``get_cat_ids(index)``, such as MMPretrain's,
            multi-label or not, or a wrapper of such a data set: MMEngine's,
            MMPretrain's ``KFoldDataset``, PyTorch's ``Subset``, or any with ``dataset``
            and ``indices``.
        images_per_turn (int): Images that a class gives in its turn. Defaults to 3.
        epoch_divisor (float): Divides C times the largest n_c. Defaults to 4.
        seed (int, optional): Seed, the same in all processes. Defaults to None:
            a random seed that all processes agree on; MMEngine's runner gives its own.

    Raises:
        ValueError: The data set cannot tell the classes of an image, has no image
            with a label, or an argument is out of range.

    Examples:
        >>> train_dataloader = dict(
        ...     sampler=dict(_delete_=True, type="ClassAwareSampler"))
    """

    def __init__(
        self,
        dataset,
        images_per_turn: int = 3,
        epoch_divisor: float = 4.0,
        seed: int | None = None,
    ) -> None:
        if images_per_turn < 1:
            raise ValueError(
                f"images_per_turn must be at least 1, got {images_per_turn}."
            )
        if epoch_divisor <= 0:
            raise ValueError(f"epoch_divisor must be positive, got {epoch_divisor}.")
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.images_per_turn = images_per_turn
        # DistSamplerSeedHook sets the epoch, EpochSeedHook a resumed run's seed.
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0

        self.class_images = _images_of_classes(
            image_labels(dataset, "ClassAwareSampler")
        )
        if not self.class_images:
            raise ValueError(
                "No image of the training data set has a label, so there is no class "
                "to sample for: is this the right list?"
            )
        largest = max(len(images) for images in self.class_images)
        total = int(largest * len(self.class_images) / epoch_divisor)
        self.num_samples = max(1, math.ceil(total / self.world_size))
        self.total_size = self.num_samples * self.world_size

    def __iter__(self) -> Iterator[int]:
        """Iterate over this process's indices."""
        return iter(self._sequence()[self.rank :: self.world_size].tolist())

    def __len__(self) -> int:
        """Number of samples of this process."""
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Shuffle anew.

        Args:
            epoch (int): Number of the epoch.
        """
        self.epoch = epoch

    def _sequence(self) -> np.ndarray:
        """Indices for all processes together, (total_size,)."""
        rng = np.random.default_rng((self.seed, self.epoch))
        turns = math.ceil(self.total_size / self.images_per_turn)
        turn_class = _cycle(np.arange(len(self.class_images)), turns, rng)  # (turns,)
        # Sorted once: a search for each class's turns would take C times as long.
        ends = np.bincount(turn_class, minlength=len(self.class_images)).cumsum()
        turns_of_class = np.split(np.argsort(turn_class, kind="stable"), ends[:-1])
        sequence = np.empty((turns, self.images_per_turn), dtype=np.int64)
        for mine, images in zip(turns_of_class, self.class_images, strict=True):
            needed = len(mine) * self.images_per_turn
            sequence[mine] = _cycle(images, needed, rng).reshape(-1, sequence.shape[1])
        return sequence.reshape(-1)[: self.total_size]


def _cycle(items: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """The items in random order, again and again in new orders."""
    rounds = math.ceil(length / len(items))
    shuffled = rng.permuted(np.tile(items, (rounds, 1)), axis=1)
    return shuffled.reshape(-1)[:length]


def _images_of_classes(labels: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Indices of the images of every class that has some, by class."""
    images: dict[int, list[int]] = {}
    for index, of_image in enumerate(labels):
        for label in set(of_image):
            images.setdefault(int(label), []).append(index)
    return [np.array(images[label]) for label in sorted(images)]
