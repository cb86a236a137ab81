"""Several image lists as one data set."""

from collections.abc import Sequence

from mmengine.dataset import ConcatDataset as MMEngineConcatDataset
from mmpretrain.registry import DATASETS

from capnet_mm.evaluation.frequency_groups import frequency_groups

from .class_order import reorder_classes
from .wrappers import class_statistics, share_scores, unwrap_datasets

_COUNTED = ("class_counts", "num_images", "groups")


@DATASETS.register_module()
class ConcatDataset(MMEngineConcatDataset):
    """MMEngine's ``ConcatDataset``, which knows what adds up.

    MMEngine refuses parts whose metainfo differs, and that of two image lists does:
    each states the counts of its own images. Here counts and numbers of images are
    added and the groups follow, the classes of all parts are put in the order of the
    first, and if one part has unknown labels the images of all carry ``gt_score``.
    Parts that count nothing are concatenated as MMEngine does.

    Args:
        datasets (Sequence[dict | BaseDataset]): The parts.
        lazy_init (bool): Whether to leave the lists unread. Defaults to False.
        ignore_keys (str | list[str], optional): Further keys of the metainfo that may
            differ; the first part's values are taken. Defaults to None.

    Raises:
        ValueError: The parts have different classes.

    Examples:
        >>> train_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=[
        ...     dict(type='ImageListDataset', ann_file='train.txt', data_root='a'),
        ...     dict(type='ImageListDataset', ann_file='train.json', data_root='b')]))
    """

    def __init__(
        self,
        datasets: Sequence,
        lazy_init: bool = False,
        ignore_keys: str | list[str] | None = None,
    ) -> None:
        ignored = [ignore_keys] if isinstance(ignore_keys, str) else ignore_keys or []
        ignored = [*ignored, "classes", "prompt_names", *_COUNTED]
        super().__init__(datasets, lazy_init, ignored)

    def full_init(self) -> None:
        """Read the lists, and make one data set of them."""
        if self._fully_initialized:
            return
        super().full_init()
        classes = self._metainfo.get("classes")
        for index, part in enumerate(self.datasets[1:], start=1):
            if classes is not None:
                who = f"part {index} of ConcatDataset"
                reorder_classes(part, classes, who, "part 0")
        share_scores(self)
        for key in _COUNTED:
            self._metainfo.pop(key, None)
        if all("class_counts" in part.metainfo for part in self.datasets):
            counts, num_images = class_statistics(self, "ConcatDataset")
            first = unwrap_datasets(self)[0]
            groups = frequency_groups(
                counts,
                getattr(first, "head_threshold", 100),
                getattr(first, "tail_threshold", 20),
            )
            self._metainfo.update(
                class_counts=counts, num_images=num_images, groups=groups
            )
