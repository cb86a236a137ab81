"""Writes a report with figures at the end of training and of testing."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_dist_info, is_main_process
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel
from mmengine.runner import EpochBasedTrainLoop
from mmengine.structures import BaseDataElement
from mmpretrain.registry import HOOKS
from mmpretrain.structures import label_to_onehot
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional as F

from capnet_mm.evaluation import LongTailMAP, by_train_count
from capnet_mm.fileio import replace_files
from capnet_mm.models import CorrelationPromptHead, LabelGraph
from capnet_mm.visualization import read_curves
from capnet_mm.visualization.drawing import MAX_NAMES
from capnet_mm.visualization.report import (
    REPORT_FILES,
    GraphExcerpt,
    Prediction,
    RunReport,
    report_files,
)

from ..class_maps import class_maps
from ..unwrap import unwrap_distributed, unwrap_model

# Longer side of an image in the report, in pixels.
_IMAGE_SIZE = 320
# Classes of an image whose activation maps are shown.
_NUM_MAPS = 3


@HOOKS.register_module()
class ReportHook(Hook):
    """Leaves a report in ``<work_dir>/report``: figures, a page, the numbers.

    After training the report is about the last validation, after testing about the
    test:

    ======================= =====================================================
    ``report.html``         all of the following in one file that needs no network
    ``report.json``         config, phase, epoch, metrics, results of each class
    ``per_class_ap.png``    average precision by class, with
                            :class:`~capnet_mm.evaluation.LongTailMAP`
    ``reliability.png``     probabilities against what is there, with a checkpoint of
                            ``tools/calibrate.py``
    ``label_graph.png``     label graph of a
                            :class:`~capnet_mm.models.CorrelationPromptHead`, before
                            and after its construction
    ``training_curves.png`` curves of all runs of the training in this work dir
    ``predictions.png``     some images with true and predicted labels
    ``class_maps.png``      where in some of them a head with
                            :class:`~capnet_mm.models.ClassPooling` sees the most
                            probable classes
    ======================= =====================================================

    Every figure is written in the light theme and, as ``…_dark.png``, in the dark one.
    What a model or data set does not have is left out. A training without validation
    leaves its curves and the graph; a training that was complete already leaves the
    report as it is. A report that fails is logged as an error, and the run ends as
    without a report: all else is saved by then.

    Args:
        num_images (int): Number of images to show, evenly spread over the set.
            Defaults to 16.

    Attributes:
        report_file (Path | None): The page that this run has written. None before,
            and in processes other than the main one.

    Raises:
        ValueError: ``num_images`` is negative.

    Examples:
        >>> custom_hooks = [dict(type='ReportHook')]
    """

    # After everything else, checkpoints above all.
    priority = "LOWEST"

    def __init__(self, num_images: int = 16) -> None:
        if num_images < 0:
            raise ValueError(f"num_images={num_images}: expected 0 or more.")
        self.num_images = num_images
        self._start_iter = 0
        self._checkpoint_epoch: int | None = None
        self._wanted: set[int] = set()
        self._num_seen = 0
        self._samples: list[dict] = []
        self._report: dict | None = None
        self.report_file: Path | None = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Note how long the model was trained."""
        self._checkpoint_epoch = checkpoint.get("meta", {}).get("epoch")

    def before_train(self, runner) -> None:
        """Note where training starts."""
        self._start_iter = runner.iter

    def before_val_epoch(self, runner) -> None:
        """Choose the images."""
        self._choose_images(runner.val_dataloader)

    def before_test_epoch(self, runner) -> None:
        """Choose the images."""
        self._choose_images(runner.test_dataloader)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Keep what the model says of the chosen images."""
        self._collect(runner, data_batch, outputs)

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Keep what the model says of the chosen images."""
        self._collect(runner, data_batch, outputs)

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Keep the results, until training ends or there are newer ones."""
        is_by_epoch = isinstance(runner._train_loop, EpochBasedTrainLoop)
        self._keep_results(
            phase="val",
            epoch=runner.epoch if is_by_epoch else None,
            metrics=metrics or {},
            evaluator=runner.val_evaluator,
            dataset=runner.val_dataloader.dataset,
        )

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        """Keep the results."""
        self._keep_results(
            phase="test",
            epoch=self._checkpoint_epoch,
            metrics=metrics or {},
            evaluator=runner.test_evaluator,
            dataset=runner.test_dataloader.dataset,
        )

    def after_train(self, runner) -> None:
        """Write the report of the last validation."""
        if runner.iter > self._start_iter:
            self._write(runner)

    def after_test(self, runner) -> None:
        """Write the report of the test."""
        self._write(runner)

    def _choose_images(self, loader) -> None:
        num_images = len(loader.dataset)
        number = min(self.num_images, num_images)
        # The middles of as many equal parts.
        self._wanted = {(2 * i + 1) * num_images // (2 * number) for i in range(number)}
        self._num_seen = 0
        self._samples = []

    def _collect(self, runner, data_batch, outputs: Sequence) -> None:
        rank, num_processes = get_dist_info()
        for place, output in enumerate(outputs):
            # MMEngine's samplers deal the images out to the processes in turn.
            index = (self._num_seen + place) * num_processes + rank
            if index in self._wanted and _is_prediction(output):
                sample = _as_sample(index, output)
                sample |= _seen(runner.model, data_batch, place, sample["scores"])
                self._samples.append(sample)
        self._num_seen += len(outputs)

    def _keep_results(self, phase, epoch, metrics, evaluator, dataset) -> None:
        gathered = [s for part in all_gather_object(self._samples) for s in part]
        metainfo = getattr(dataset, "metainfo", None) or {}
        judged = [
            metric
            for metric in evaluator.metrics
            if isinstance(metric, LongTailMAP) and metric.class_results is not None
        ]
        self._report = dict(
            phase=phase,
            epoch=epoch,
            metrics=metrics,
            classes=judged[0].class_results if judged else (),
            reliability=judged[0].reliability if judged else None,
            names=metainfo.get("classes"),
            train_counts=metainfo.get("class_counts"),
            samples=sorted(gathered, key=lambda sample: sample["index"]),
        )
        self._samples = []

    def _write(self, runner) -> None:
        if not is_main_process():
            return
        folder = Path(runner.work_dir, "report")
        try:
            files = report_files(self._compose(runner))
            folder.mkdir(exist_ok=True)
            replace_files({folder / name: files[name] for name in files})
            for name in set(REPORT_FILES) - set(files):
                (folder / name).unlink(missing_ok=True)  # of an earlier report
        except OSError as error:
            runner.logger.error(
                f"The report could not be written to {folder}: {error}. Everything "
                "else of this run is saved; once there is room, tools/test.py with "
                "the checkpoint writes a report again."
            )
        except Exception:
            # Whatever it is: hours of training shall not end with its traceback.
            runner.logger.exception(
                "The report could not be drawn, which is a defect of ReportHook; the "
                "run itself is complete and saved."
            )
        else:
            self.report_file = folder / "report.html"
            runner.logger.info(f"Report written: {self.report_file}")

    def _compose(self, runner) -> RunReport:
        results = dict(self._report or {})
        samples = results.pop("samples", [])
        names = results.pop("names", None)
        counts = results.pop("train_counts", None)
        if names is None and samples:
            names = [str(index) for index in range(len(samples[0]["scores"]))]
        filename = runner.cfg.filename
        return RunReport(
            config=Path(filename).stem if filename else runner.experiment_name,
            tta=isinstance(unwrap_distributed(runner.model), BaseTTAModel),
            names=names or (),
            predictions=[
                Prediction(
                    _load_image(s), s["scores"], s["targets"], s["view"], s["maps"]
                )
                for s in samples
            ],
            curves=read_curves(runner.work_dir),
            graph=_find_graph(unwrap_model(runner.model), counts),
            **results,
        )


def _is_prediction(output) -> bool:
    if not isinstance(output, BaseDataElement) or "pred_score" not in output:
        return False
    return isinstance(output.pred_score, Tensor) and output.pred_score.ndim == 1


def _as_sample(index: int, output: BaseDataElement) -> dict:
    scores = output.pred_score.float().cpu()
    if "gt_score" in output:
        targets = output.gt_score.cpu()
    elif "gt_label" in output:
        targets = label_to_onehot(output.gt_label.cpu(), len(scores))
    else:
        targets = torch.full_like(scores, -1)
    return dict(
        index=index,
        scores=scores.numpy(),
        targets=targets.numpy(),
        img_path=output.get("img_path"),
    )


def _seen(model: nn.Module, data_batch, place: int, scores: np.ndarray) -> dict:
    """What the model was given of an image, and where it sees the best classes."""
    inputs = data_batch.get("inputs") if isinstance(data_batch, dict) else None
    if inputs is not None and isinstance(unwrap_distributed(model), BaseTTAModel):
        inputs = inputs[0]  # the first view
    if inputs is None or not isinstance(inputs[place], Tensor):
        return dict(view=None, maps={})
    best = np.argsort(-scores, kind="stable")[:_NUM_MAPS]
    return dict(
        view=_as_picture(model, inputs[place]),
        maps=class_maps(model, inputs[place], best),
    )


def _as_picture(model: nn.Module, inputs: Tensor) -> np.ndarray | None:
    """The model's input as an image, (H, W, 3) uint8."""
    image = inputs.detach().float().cpu()
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        return None
    if inputs.dtype != torch.uint8:  # normalised by the pipeline already
        low, high = image.min(), image.max()
        image = 255 * (image - low) / (high - low).clamp(min=1e-12)
    preprocessor = getattr(unwrap_model(model), "data_preprocessor", None)
    if getattr(preprocessor, "to_rgb", False):
        image = image.flip(0)  # BGR -> RGB
    return image.expand(3, -1, -1).permute(1, 2, 0).byte().numpy()


def _load_image(sample: dict) -> np.ndarray:
    """The image as it is on disk, scaled down; else what the model has seen."""
    image = None if sample["img_path"] is None else _read_image(sample["img_path"])
    if image is None:
        view = sample["view"]
        image = Image.new("RGB", (8, 8)) if view is None else Image.fromarray(view)
    image.thumbnail((_IMAGE_SIZE, _IMAGE_SIZE))
    return np.asarray(image)


def _read_image(path: str) -> Image.Image | None:
    try:
        with Image.open(io.BytesIO(get(path))) as file:
            file.draft("RGB", (_IMAGE_SIZE, _IMAGE_SIZE))  # JPEG: decodes less
            return ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, ValueError):  # gone since, or of a kind that Pillow cannot read
        return None


def _find_graph(
    model: nn.Module, train_counts: Sequence[int | None] | None
) -> GraphExcerpt | None:
    """The graph between the classes that a figure of it has names for."""
    for head in model.modules():
        if not isinstance(head, CorrelationPromptHead):
            continue
        graph = head.graph
        if not isinstance(graph, LabelGraph):  # none, or of a kind of one's own
            return None
        num_classes = len(head.classes)
        counts = train_counts or [None] * num_classes
        shown = by_train_count(counts)[:MAX_NAMES]
        features = F.normalize(graph.features[shown].float(), dim=-1)
        rows = graph.weights.new_zeros(len(shown), num_classes)
        rows.scatter_(1, graph.indices[shown], graph.weights[shown])
        return GraphExcerpt(
            names=[head.classes[index] for index in shown],
            similarity=(features @ features.T).cpu().numpy(),
            adjacency=rows[:, shown].cpu().numpy(),
            num_classes=num_classes,
            is_by_count=None not in counts,
        )
    return None
