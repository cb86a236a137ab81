"""Tells model and data sets of a run about the classes."""

from collections.abc import Iterator

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop
from mmpretrain.registry import HOOKS
from torch import nn

from capnet_mm.datasets.class_order import reorder_classes
from capnet_mm.datasets.wrappers import class_statistics, share_scores, stated_names
from capnet_mm.models.identity import refuse_other_classes

from ..unwrap import unwrap_model


@HOOKS.register_module()
class ClassCountsHook(Hook):
    """Tells the model about the classes of its training images.

    Every submodule with a method ``set_class_counts(class_counts, num_images)``
    (such as :class:`~capnet_mm.models.DBFocalLoss`) gets what the training data set
    states in its metainfo, so that no config repeats it; see
    :func:`~capnet_mm.datasets.wrappers.class_statistics`.

    All data sets of the run get the order of the classes that the model has: that of
    the head, if a head states class names as ``classes``; else that of the
    checkpoint, or of the training data set. Labels, counts, groups and names, and so
    losses, metrics and drawings, follow; the log says so once for each data set.

    Before anything is trained or saved, the hook compares the class names of a head
    with those that a checkpoint was trained for, and refuses a training set with
    unknown labels for a head that would take these as targets, or beside batch
    augmentations, which would mix them.

    Raises:
        ValueError: A loss needs counts and the data set does not state them; the
            class names of model, data sets and checkpoint are not the same; or the
            head does not know unknown labels.

    Examples:
        >>> custom_hooks = [dict(type='ClassCountsHook')]
    """

    # Counts must be there when EMAHook (NORMAL) copies the model in `before_run`:
    # later on, its copies of them would have another shape.
    priority = "HIGH"

    def before_run(self, runner) -> None:
        """Order the classes, share scores, and set the counts if the run trains.

        Args:
            runner (Runner): The runner.
        """
        model = unwrap_model(runner.model)
        stated = dict(_head_classes(model))
        for name, classes in stated.items():
            _order_classes(runner, classes, f"the model's {name}")
        trains = _trains(runner)
        if trains and not stated:
            classes = stated_names(runner.train_dataloader.dataset).get("classes")
            if classes is not None:
                _order_classes(runner, classes, "the training data set")
        has_unknown = {
            who: share_scores(loop.dataloader.dataset) for who, loop in _loops(runner)
        }
        if trains:
            if has_unknown["the training data set"]:
                _refuse_unknown_labels(model)
            self._set_counts(runner)

    def before_train(self, runner) -> None:
        """Set the counts again: a checkpoint may have brought others.

        Args:
            runner (Runner): The runner.
        """
        self._set_counts(runner)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare a checkpoint's classes, before its weights are taken.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What was read.
        """
        dataset_meta = checkpoint.get("meta", {}).get("dataset_meta") or {}
        saved = dataset_meta.get("classes")
        if saved is None:
            return
        stated = dict(_head_classes(unwrap_model(runner.model)))
        for name, classes in stated.items():
            refuse_other_classes(classes, saved, f"the model's {name}")
        # Weights of a head without names are in the checkpoint's order. A run that
        # trains may start from a model for other classes.
        if not stated and (not _trains(runner) or _same_names(runner, saved)):
            _order_classes(runner, saved, "the checkpoint")

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the class names, which MMEngine saves of data sets with metainfo only.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What will be written; changed in place.
        """
        names = stated_names(runner.train_dataloader.dataset)
        if names:
            checkpoint["meta"].setdefault("dataset_meta", names)

    @staticmethod
    def _set_counts(runner) -> None:
        modules = {
            name: module
            for name, module in unwrap_model(runner.model).named_modules()
            if hasattr(module, "set_class_counts")
        }
        if modules:
            dataset = runner.train_dataloader.dataset
            counts, num_images = class_statistics(
                dataset, f"{list(modules)} of the model"
            )
            for module in modules.values():
                module.set_class_counts(counts, num_images)


def _trains(runner) -> bool:
    # In a test run the train loop is still a config: building it would demand the
    # training images.
    return isinstance(runner._train_loop, BaseLoop)


def _loops(runner) -> Iterator[tuple[str, BaseLoop]]:
    """The loops of this run by the names of their data sets."""
    loops = (runner._train_loop, runner._val_loop, runner._test_loop)
    for name, loop in zip(("training", "validation", "test"), loops, strict=True):
        if isinstance(loop, BaseLoop):
            yield f"the {name} data set", loop


def _order_classes(runner, classes: tuple[str, ...], of: str) -> None:
    """Give all data sets of the run one order of the classes."""
    for who, loop in _loops(runner):
        dataset = loop.dataloader.dataset
        if not reorder_classes(dataset, classes, who, of):
            continue
        print_log(
            f"The classes of {who} stand in another order than those of {of}: its "
            "labels, counts and groups are renumbered by name.",
            logger="current",
        )
        # What the loop handed on when it was built.
        if hasattr(loop, "evaluator") and hasattr(dataset, "metainfo"):
            loop.evaluator.dataset_meta = dataset.metainfo
            runner.visualizer.dataset_meta = dataset.metainfo


def _same_names(runner, names) -> bool:
    mine = stated_names(runner.train_dataloader.dataset).get("classes")
    return sorted(mine or ()) == sorted(names)


def _refuse_unknown_labels(model: nn.Module) -> None:
    preprocessor = getattr(model, "data_preprocessor", None)
    if getattr(preprocessor, "batch_augments", None) is not None:
        raise ValueError(
            "The training list has unknown labels (?k), and batch augmentations "
            "(Mixup, CutMix) would mix their -1 into the targets of other images. Take "
            "the augmentation out of train_cfg.augments, or the unknown labels out of "
            "the list."
        )
    head = getattr(model, "head", None)
    if head is not None and not hasattr(head, "takes_unknown"):
        raise ValueError(
            f"The training list has unknown labels (?k), and {type(head).__name__} "
            "would train on them as targets of -1. Use CorrelationPromptHead or "
            "PartialLabelLinearHead, put PartialLabelMixin before your head's base "
            "class, or take the unknown labels out of the list."
        )


def _head_classes(model: nn.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names and classes of the submodules that state class names."""
    for name, module in model.named_modules():
        classes = getattr(module, "classes", None)
        if isinstance(classes, list | tuple) and all(
            isinstance(label, str) for label in classes
        ):
            yield name or type(module).__name__, tuple(classes)
