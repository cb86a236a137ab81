"""Gives the losses the class counts of the training images."""

from collections.abc import Iterator, Sequence

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop
from mmpretrain.registry import HOOKS
from torch import nn

from ..unwrap import unwrap_datasets, unwrap_model


@HOOKS.register_module()
class ClassCountsHook(Hook):
    """Tells the model about the classes of its training images.

    Every submodule with a method ``set_class_counts(class_counts, num_images)``
    (such as :class:`~capnet_mm.models.DBFocalLoss`) gets what the training dataset
    states in its metainfo, so that no config repeats it. With ``ConcatDataset`` the
    counts of the parts are added; repetition and balancing leave them as they are.

    The hook also compares class names, wherever a head states them as ``classes``:
    with those of the training dataset, and with those that a checkpoint was trained
    for. Both happen before anything is trained or saved.

    Raises:
        ValueError: A loss needs counts and the dataset does not state them; or the
            classes of head, training dataset and checkpoint differ.

    Examples:
        >>> custom_hooks = [dict(type='ClassCountsHook')]
    """

    # Counts must be there when EMAHook (NORMAL) copies the model in `before_run`:
    # later on, its copies of them would have another shape.
    priority = "HIGH"

    def before_run(self, runner) -> None:
        """Set the counts, if the run trains.

        Args:
            runner (Runner): The runner.
        """
        # In a test run the train loop is still a config: building it would demand
        # the training images.
        if isinstance(runner._train_loop, BaseLoop):
            self._describe_classes(runner)

    def before_train(self, runner) -> None:
        """Set the counts again: a checkpoint may have brought others.

        Args:
            runner (Runner): The runner.
        """
        self._describe_classes(runner)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Refuse a checkpoint for other classes, before its weights are taken.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What was read.
        """
        dataset_meta = checkpoint.get("meta", {}).get("dataset_meta") or {}
        saved = dataset_meta.get("classes")
        if saved is None:
            return
        for name, classes in _head_classes(unwrap_model(runner.model)):
            _check_same_classes(
                classes,
                saved,
                f"the model's {name}",
                "the checkpoint",
                "Use the config that the checkpoint was trained with.",
            )

    @staticmethod
    def _describe_classes(runner) -> None:
        model = unwrap_model(runner.model)
        dataset = runner.train_dataloader.dataset
        datasets = unwrap_datasets(dataset)
        for name, classes in _head_classes(model):
            for part in datasets:
                found = getattr(part, "metainfo", {}).get("classes")
                if found is not None:
                    _check_same_classes(
                        classes,
                        found,
                        f"the model's {name}",
                        "the training dataset",
                        "Give both the same list of classes, in the same order.",
                    )

        modules = {
            name: module
            for name, module in model.named_modules()
            if hasattr(module, "set_class_counts")
        }
        if not modules:
            return
        counts, num_images = _sum_class_counts(datasets, needed_by=list(modules))
        for module in modules.values():
            module.set_class_counts(counts, num_images)


def _sum_class_counts(
    datasets: Sequence, needed_by: Sequence[str]
) -> tuple[tuple[int, ...], int]:
    """Class counts and number of images of all ``datasets`` together."""
    per_dataset = []
    num_images = 0
    for dataset in datasets:
        metainfo = getattr(dataset, "metainfo", {})
        lacking = [k for k in ("class_counts", "num_images") if k not in metainfo]
        if lacking:
            raise ValueError(
                f"The training dataset {type(dataset).__name__} does not state "
                f"{' and '.join(lacking)} in its metainfo, which {needed_by} of the "
                "model needs. ImageListDataset and the datasets built on it count "
                "their classes; for another dataset pass metainfo=dict(class_counts="
                "[images with class 0, …], num_images=N)."
            )
        per_dataset.append([int(count) for count in metainfo["class_counts"]])
        num_images += int(metainfo["num_images"])
    lengths = sorted({len(counts) for counts in per_dataset})
    if len(lengths) > 1:
        raise ValueError(
            f"The concatenated training datasets state counts of {lengths} classes: "
            "they must have the same classes."
        )
    return tuple(sum(column) for column in zip(*per_dataset, strict=True)), num_images


def _head_classes(model: nn.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names and classes of the submodules that state class names."""
    for name, module in model.named_modules():
        classes = getattr(module, "classes", None)
        if isinstance(classes, list | tuple) and all(
            isinstance(label, str) for label in classes
        ):
            yield name or type(module).__name__, tuple(classes)


def _check_same_classes(
    expected: Sequence[str], found: Sequence[str], mine: str, theirs: str, advice: str
) -> None:
    """Raise ``ValueError`` that names the first difference, if there is one."""
    expected, found = tuple(expected), tuple(found)
    if len(expected) != len(found):
        raise ValueError(
            f"{mine} is for {len(expected)} classes, {theirs} for {len(found)}. "
            f"{advice}"
        )
    for index, (one, other) in enumerate(zip(expected, found, strict=True)):
        if one != other:
            raise ValueError(
                f"Class {index} is {one!r} for {mine} and {other!r} for {theirs}. "
                f"{advice}"
            )
