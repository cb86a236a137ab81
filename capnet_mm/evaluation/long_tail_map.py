"""mAP of all classes and of the head, medium and tail classes."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmpretrain.registry import METRICS
from mmpretrain.structures import label_to_onehot

from capnet_mm.tables import Table

from .average_precision import average_precision
from .calibration import reliability_bins
from .f1_scores import class_f1, f1_scores
from .frequency_groups import (
    by_train_count,
    frequency_groups,
    group_of,
    highest_and_lowest,
)
from .stored_calibration import StoredCalibration, read_calibration, sigmoid

# Scores of so many images and classes are ranked at once, 128 MB of them.
_BLOCK_ENTRIES = 2**25
# Classes in a table of the log, and at each end of a table that has not all.
_MAX_LOGGED = 2000
_EXTREMES = 50


@METRICS.register_module()
class LongTailMAP(BaseMetric):
    """Mean average precision, total and by frequency group, times 100.

    Average precision is non-interpolated, as in scikit-learn (see
    :func:`~capnet_mm.evaluation.average_precision`). Results are ``mAP``,
    ``mAP_head``, ``mAP_medium`` and ``mAP_tail``: means over the classes of each
    group that have a positive in the test set. Classes without a positive have no
    average precision; the means leave them out and a warning names them. A group of
    which no class is left gives NaN.

    Groups and training counts come from the metainfo of the dataset evaluated
    (:class:`~capnet_mm.datasets.ImageListDataset` with ``train_ann_file``). For a
    dataset without such metainfo, such as MMPretrain's own, only ``mAP`` is reported.

    With a checkpoint that ``tools/calibrate.py`` has calibrated, what its thresholds
    predict is judged too: ``mF1``, ``CF1`` and ``OF1`` (see
    :func:`~capnet_mm.evaluation.f1_scores`), in percent, total and by group.
    :class:`~capnet_mm.engine.CalibrationHook` hands them over.

    A table of all classes is logged at every evaluation.

    Args:
        head_threshold (int, optional): Smallest training count of a head class.
            Defaults to None: the groups of the dataset; 100 if only
            ``tail_threshold`` is given.
        tail_threshold (int, optional): Smallest training count that is no longer
            tail. Defaults to None: the groups of the dataset; 20 if only
            ``head_threshold`` is given.
        classwise (bool): Whether to add ``AP/<class name>`` to the results.
            Defaults to False.
        softmax (bool): Whether to take a softmax over the classes before ranking,
            as LMPT and LM-CLIP do. It changes the numbers (an image with one
            strong class pushes its others down): for comparison with their results
            only. Needs ``pred_logits``. Defaults to False.
        use_calibration (bool): Whether to report F1 and reliability with the
            thresholds of the checkpoint, if it has any. Defaults to True.
        collect_device (str): 'cpu' or 'gpu', for collecting from several processes.
            Defaults to 'cpu'.
        prefix (str, optional): Prefix of the names of the results. Defaults to None:
            'multi-label'.

    Attributes:
        class_results (list[dict] | None): The classes in their order, as the last
            evaluation found them: ``name`` (str), ``train_count`` (int, or None if
            unknown), ``group`` (str, or None), ``num_positives`` (int, images of the
            test set with the class) and ``average_precision`` (float in percent, NaN
            without a positive); with thresholds also ``threshold`` (a calibrated
            probability) and ``f1`` (in percent). None before an evaluation, and in
            processes other than the main one.
        calibration (dict | None): Thresholds and calibration of the checkpoint, as
            its meta holds them; see
            :func:`~capnet_mm.evaluation.calibration_meta`.
        reliability (dict | None): With a calibration, the
            :class:`~capnet_mm.evaluation.ReliabilityBins` of the last evaluation,
            ``before`` and ``after`` it, each a dict with ``total`` and the groups.

    Examples:
        >>> import torch
        >>> from mmengine.evaluator import Evaluator
        >>> from mmpretrain.structures import DataSample
        >>> samples = [
        ...     DataSample().set_pred_score([0.9, 0.1]).set_gt_label([0]),
        ...     DataSample().set_pred_score([0.6, 0.3]).set_gt_label([]),
        ...     DataSample().set_pred_score([0.4, 0.2]).set_gt_label([0, 1]),
        ... ]
        >>> evaluator = Evaluator(LongTailMAP())
        >>> evaluator.dataset_meta = dict(
        ...     classes=("dog", "cow"),
        ...     class_counts=(413, 4),
        ...     groups=dict(head=(0,), medium=(), tail=(1,)),
        ... )
        >>> evaluator.process(samples)
        >>> result = evaluator.evaluate(len(samples))
        >>> {name: round(value, 2) for name, value in result.items()}
        {'multi-label/mAP': 66.67, 'multi-label/mAP_head': 83.33,
         'multi-label/mAP_medium': nan, 'multi-label/mAP_tail': 50.0}
    """

    default_prefix = "multi-label"

    def __init__(
        self,
        head_threshold: int | None = None,
        tail_threshold: int | None = None,
        classwise: bool = False,
        softmax: bool = False,
        use_calibration: bool = True,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.thresholds = None
        if head_threshold is not None or tail_threshold is not None:
            self.thresholds = dict(
                head_threshold=100 if head_threshold is None else head_threshold,
                tail_threshold=20 if tail_threshold is None else tail_threshold,
            )
            frequency_groups((), **self.thresholds)  # check them before the epoch
        self.classwise = classwise
        self.softmax = softmax
        self.use_calibration = use_calibration
        self.calibration: dict | None = None
        self.class_results: list[dict] | None = None
        self.reliability: dict | None = None
        # The class names of head and data set that were last found to be the same.
        self._compared: tuple[Sequence[str], Sequence[str]] | None = None

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep the scores and labels of one batch.

        Args:
            data_batch: Not used.
            data_samples (Sequence[dict]): Samples with ``pred_logits`` or, without
                logits, ``pred_score``, (C,), and with ``gt_score``, (C,), 1 positive,
                0 negative, -1 unknown, or else ``gt_label``; ``pred_classes``, where
                the head states it, must be the data set's classes.
        """
        for sample in data_samples:
            self._check_class_order(sample.get("pred_classes"))
            is_logit = "pred_logits" in sample
            if is_logit:
                scores = sample["pred_logits"]
            elif self.softmax:
                raise ValueError(
                    "softmax=True needs the `pred_logits` of the data samples, and "
                    "this head gives none: a softmax of sigmoid probabilities is "
                    "not the softmax of the logits. Set softmax=False."
                )
            else:
                scores = sample["pred_score"]
            # A copy: a row of the batch's logits would keep the whole batch.
            scores = scores.detach().to("cpu", torch.float32, copy=True)
            if "gt_score" in sample:
                targets = sample["gt_score"]
            else:
                targets = label_to_onehot(sample["gt_label"], len(scores))
            self.results.append(
                # int8: one-hot int64 would take twice the room of the scores.
                dict(scores=scores, targets=_as_int8(targets), is_logit=is_logit)
            )

    def _check_class_order(self, predicted: Sequence[str] | None) -> None:
        names = (self.dataset_meta or {}).get("classes")
        if predicted is None or names is None:
            return
        last = self._compared
        if last is not None and last[0] is predicted and last[1] is names:
            return
        if tuple(predicted) != tuple(names):
            raise ValueError(
                f"The model scores the classes {list(predicted)}, the data set "
                f"evaluated has {list(names)}: the scores would count for other "
                "classes. Put dict(type='ClassCountsHook') into custom_hooks, which "
                "renumbers by name a data set with the same names in another order."
            )
        self._compared = predicted, names

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the scores of the whole test set.

        Args:
            results (list[dict]): What :meth:`process` kept of every image.

        Returns:
            dict[str, float]: ``mAP`` and, where the groups are known, ``mAP_head``,
            ``mAP_medium`` and ``mAP_tail``, in percent.

        Raises:
            ValueError: There is no image, a score is NaN, or the number of classes is
                not that of the dataset.
        """
        self.class_results = self.reliability = None
        if not results:
            raise ValueError("There is no image to evaluate: the test set is empty.")
        names = self._class_names(len(results[0]["scores"]))
        counts = self._class_counts(len(names))
        groups = self._groups(counts)
        precisions, num_positives = self._precisions(results)

        self.class_results = _class_results(
            names, counts, groups, num_positives, precisions
        )
        metrics = {"mAP": _mean(precisions)}
        for group, indices in groups.items():
            metrics[f"mAP_{group}"] = _mean(precisions[list(indices)])
        if self.use_calibration and self.calibration is not None:
            calibration = read_calibration(self.calibration, names)
            logits, targets = stack_logits(results)
            metrics |= self._judge_calibrated(calibration, logits, targets, groups)
        _log_table(self.class_results)
        self._warn_of_absent(names, groups, num_positives)
        if self.classwise:
            for name, precision in zip(names, precisions, strict=True):
                metrics[f"AP/{name}"] = float(precision)
        return metrics

    def _precisions(self, results: list[dict]) -> tuple[np.ndarray, np.ndarray]:
        """AP in percent and number of positives of each class, (C,).

        Of many classes some are stacked at a time: a matrix of all would take as much
        memory again as the rows that are kept.
        """
        step = max(1, _BLOCK_ENTRIES // len(results))
        precisions, num_positives = [], []
        for start in range(0, len(results[0]["scores"]), step):
            part = slice(start, start + step)
            rows = [self._ranked(result["scores"])[part] for result in results]
            scores = torch.stack(rows).numpy()
            rows = [result["targets"][part] for result in results]
            targets = torch.stack(rows).numpy()
            precisions.append(100 * average_precision(scores, targets, start))
            num_positives.append((targets == 1).sum(axis=0))
        return np.concatenate(precisions), np.concatenate(num_positives)

    def _ranked(self, scores: torch.Tensor) -> torch.Tensor:
        """What the images are ranked by, (C,)."""
        # In double precision: at CLIP's scale small probabilities underflow in single
        # precision, and would tie.
        return scores.double().softmax(dim=0) if self.softmax else scores

    def _judge_calibrated(
        self,
        calibration: StoredCalibration,
        logits: np.ndarray,
        targets: np.ndarray,
        groups: dict[str, Sequence[int]],
    ) -> dict[str, float]:
        """Add to the classes' results, keep the reliability, return the F1 scores."""
        probabilities = calibration.probabilities(logits)
        predicted = probabilities >= calibration.thresholds
        each = zip(calibration.thresholds, class_f1(predicted, targets), strict=True)
        for entry, (threshold, f1) in zip(self.class_results, each, strict=True):
            entry.update(threshold=float(threshold), f1=100 * float(f1))

        parts = {"total": range(logits.shape[1]), **groups}
        self.reliability = {
            when: {
                name: reliability_bins(values[:, list(part)], targets[:, list(part)])
                for name, part in parts.items()
            }
            for when, values in (("before", sigmoid(logits)), ("after", probabilities))
        }
        return {
            key if name == "total" else f"{key}_{name}": 100 * value
            for name, part in parts.items()
            for key, value in f1_scores(predicted, targets, part).items()
        }

    def _class_names(self, num_classes: int) -> Sequence[str]:
        names = (self.dataset_meta or {}).get("classes")
        if names is None:
            return [str(index) for index in range(num_classes)]
        if len(names) != num_classes:
            raise ValueError(
                f"The model scores {num_classes} classes but the dataset has "
                f"{len(names)}: is this model made for this dataset?"
            )
        return names

    def _class_counts(self, num_classes: int) -> Sequence[int] | None:
        counts = (self.dataset_meta or {}).get("class_counts")
        if counts is not None and len(counts) != num_classes:
            raise ValueError(
                f"The dataset's metainfo has {num_classes} classes but "
                f"{len(counts)} class_counts: it needs one for each class."
            )
        return counts

    def _groups(self, counts: Sequence[int] | None) -> dict[str, Sequence[int]]:
        hint = (
            "Use ImageListDataset (or VOCLT, COCOLT) for the test set, with "
            "train_ann_file set to the training list."
        )
        if self.thresholds is not None:
            if counts is None:
                raise ValueError(
                    "head_threshold and tail_threshold need the training counts, but "
                    f"the dataset's metainfo has no class_counts. {hint}"
                )
            return frequency_groups(counts, **self.thresholds)
        groups = (self.dataset_meta or {}).get("groups")
        if groups is None:
            print_log(
                "The dataset's metainfo has no groups of classes: only the total mAP "
                f"is reported, not that of head, medium and tail. {hint}",
                logger="current",
                level=logging.WARNING,
            )
            return {}
        return groups

    def _warn_of_absent(
        self,
        names: Sequence[str],
        groups: dict[str, Sequence[int]],
        num_positives: np.ndarray,
    ) -> None:
        warnings = []
        absent = [name for name, n in zip(names, num_positives, strict=True) if not n]
        if absent:
            warnings.append(
                f"{len(absent)} of {len(names)} classes have no positive in the test "
                f"set and are left out of every mean: {', '.join(absent)}."
            )
        for group, indices in groups.items():
            if not num_positives[list(indices)].any():
                why = "has no class with a positive" if indices else "has no class"
                warnings.append(f"mAP_{group} is NaN: the group {why}.")
        if warnings:
            print_log(" ".join(warnings), logger="current", level=logging.WARNING)


def stack_logits(results: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Collect what :meth:`LongTailMAP.process` has kept.

    Args:
        results: An entry for each image.

    Returns:
        Logits, (N, C), of a head that gives none from its probabilities; and targets,
        (N, C).

    Raises:
        ValueError: There is no image.
    """
    if not results:
        raise ValueError("There is no image to evaluate: the list is empty.")
    logits = torch.stack([result["scores"] for result in results])
    if not results[0]["is_logit"]:
        logits = torch.logit(logits, eps=1e-7)
    targets = torch.stack([result["targets"] for result in results])
    return logits.numpy(), targets.numpy()


def _class_results(
    names: Sequence[str],
    counts: Sequence[int] | None,
    groups: dict[str, Sequence[int]],
    num_positives: np.ndarray,
    precisions: np.ndarray,
) -> list[dict]:
    group = group_of(groups)
    return [
        dict(
            name=name,
            train_count=None if counts is None else int(counts[index]),
            group=group.get(index),
            num_positives=int(num_positives[index]),
            average_precision=float(precisions[index]),
        )
        for index, name in enumerate(names)
    ]


def _log_table(class_results: list[dict]) -> None:
    """Log a table of the classes, from the most frequent to the rarest.

    Of very many the table has those of highest and lowest AP, in this order.
    """
    title = "Average precision of each class"
    if len(class_results) > _MAX_LOGGED:
        precisions = [entry["average_precision"] for entry in class_results]
        order = highest_and_lowest(precisions, _EXTREMES)
        title += (
            f": of {len(class_results):,} the {_EXTREMES} highest and the {_EXTREMES} "
            "lowest; the report has all"
        )
    else:
        order = by_train_count([entry["train_count"] for entry in class_results])
    entries = [class_results[index] for index in order]
    rows = [
        (
            entry["name"],
            "-" if entry["train_count"] is None else str(entry["train_count"]),
            entry["group"] or "-",
            str(entry["num_positives"]),
            f"{entry['average_precision']:.2f}",
            *_threshold_cells(entry),
        )
        for entry in entries
    ]
    header = ("class", "train", "group", "test", "AP")
    if "threshold" in entries[0]:
        header += ("threshold", "F1")
    table = Table(header, rows, align="lrlrrrr"[: len(header)])
    print_log(
        f"{title} (train, test: images with it)\n{table.to_text()}",
        logger="current",
    )


def _threshold_cells(entry: dict) -> tuple[str, ...]:
    if "threshold" not in entry:
        return ()
    return f"{entry['threshold']:.3f}", f"{entry['f1']:.2f}"


def _as_int8(targets: torch.Tensor) -> torch.Tensor:
    small = targets.to("cpu", torch.int8)
    if not torch.equal(small.to(targets.dtype), targets.cpu()):
        raise ValueError(
            "Ground truth for average precision must be 1 (positive), 0 (negative) or "
            f"-1 (unknown), got a gt_score with the values {targets.unique().tolist()}."
        )
    return small


def _mean(precisions: np.ndarray) -> float:
    """Mean of what is no NaN; NaN if nothing is left."""
    defined = precisions[~np.isnan(precisions)]
    return float(defined.mean()) if len(defined) else float("nan")
