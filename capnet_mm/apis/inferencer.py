"""What is in pictures: names and scores from a model that was trained."""

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpretrain.apis import list_models
from mmpretrain.apis.base import BaseInferencer
from mmpretrain.registry import MODELS, TRANSFORMS
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TimeRemainingColumn,
)
from torch import nn

from ..datasets.transforms import LoadImage
from ..evaluation import group_of
from .building import build, pipeline_of
from .labels import calibration_of, choose_labels, choose_thresholds
from .pictures import Batch, Picture, as_bgr, list_pictures, load_batches


class MultiLabelInferencer(BaseInferencer):
    """Says which classes pictures show, and how sure it is of each.

    The first arguments say what is asked:

    - ``MultiLabelInferencer('epoch_10.pth')``: a checkpoint alone. Its config is not
      run but read, and may name only classes of MMPretrain and this package.
    - ``MultiLabelInferencer('config.py', 'epoch_10.pth')``: config and checkpoint. The
      config may also be a ``Config`` or a name of MMPretrain's model hub.
    - ``MultiLabelInferencer(clip='ViT-B-16', pretrained='openai', classes=[…])``: a
      CLIP without training.
    - ``MultiLabelInferencer(model)``: a model of :func:`mmpretrain.get_model`.

    A trained model's scores are its sigmoids, or calibrated probabilities where the
    checkpoint holds a calibration. A CLIP without training knows no absolute scores:
    its scores are shares among the names (a softmax), and a name is predicted that has
    more than an equal share.

    Args:
        model (str | Config | BaseModel, optional): See above.
        pretrained (str | bool): Beside a config: the checkpoint; True for what the
            config's ``load_from`` or the model hub names, False for none. Beside
            ``clip`` with a checkpoint or alone: tag or file of the CLIP's weights.
            Defaults to True.
        device (str | torch.device, optional): Defaults to None: an accelerator, if
            there is one.
        classes (Sequence[str], optional): Names to ask for. Defaults to None: the
            checkpoint's.
        clip (str | dict, optional): The CLIP on this machine, ``'local-dir:PATH'`` or
            an architecture of open_clip; or a dict with ``model``, ``pretrained``,
            ``quick_gelu``. Defaults to None: as in training.
        trust_config (bool): Let the config inside a checkpoint import modules and name
            any object: only for files from somebody you trust. Defaults to False.

    Raises:
        FileNotFoundError: Checkpoint, config or CLIP is not there.
        ValueError: They don't fit each other, or the checkpoint is refused.

    Examples:
        >>> inferencer = MultiLabelInferencer('work_dirs/capnet/epoch_15.pth')
        >>> result = inferencer('picture.jpg')[0]
        >>> result['pred_class'], result['pred_score']
        (['dog', 'sofa'], [0.93, 0.61])
    """

    preprocess_kwargs = {"rgb", "tta", "num_workers"}
    forward_kwargs = {"thr", "topk"}
    visualize_kwargs = {
        "resize",
        "rescale_factor",
        "draw_score",
        "show",
        "show_dir",
        "wait_time",
    }
    postprocess_kwargs: set = set()

    def __init__(
        self,
        model: str | os.PathLike | Config | BaseModel | None = None,
        pretrained: str | bool = True,
        device: str | torch.device | None = None,
        classes: Sequence[str] | None = None,
        clip: str | dict | None = None,
        trust_config: bool = False,
    ) -> None:
        if isinstance(model, str | os.PathLike | Config) or model is None:
            model = build(model, pretrained, classes, clip, trust_config)
            pretrained = False
        super().__init__(model, pretrained, device or get_device())
        self._dataset_meta = getattr(self.model, "_dataset_meta", None) or {}
        names = getattr(self.model.head, "classes", self._dataset_meta.get("classes"))
        if not names:
            raise ValueError(
                "Neither the checkpoint nor the config names the classes: use a "
                "checkpoint of a training with this package, whose meta has them."
            )
        self._ensemble: BaseModel | None = None
        self._take_names(names)
        if classes is not None and tuple(classes) != self.classes:
            self.set_classes(classes)

    @property
    def is_zero_shot(self) -> bool:
        """Whether the scores are those of a CLIP without training."""
        return getattr(self.model, "_is_zero_shot", False)

    @property
    def takes_classes(self) -> bool:
        """Whether the model can be asked for classes of one's choosing."""
        return hasattr(self.model.head, "set_classes")

    def set_classes(self, classes: Sequence[str]) -> None:
        """Ask for other classes from now on.

        Args:
            classes (Sequence[str]): Names. Those of training keep what was trained.

        Raises:
            ValueError: The model cannot be asked for classes of one's choosing.
        """
        head = self.model.head
        if not self.takes_classes:
            raise ValueError(
                f"{type(head).__name__} was trained for its {len(self.classes)} "
                "classes and cannot be asked for others."
            )
        head.set_classes(classes)
        self._take_names(head.classes)

    def for_classes(self, classes: Sequence[str]) -> "MultiLabelInferencer":
        """Make an inferencer of the same weights that asks for other classes.

        What ``candidate_labels`` of a call does for this call alone; the names are
        embedded once. This inferencer goes on asking for its own classes.

        Args:
            classes (Sequence[str]): See :meth:`set_classes`.

        Returns:
            MultiLabelInferencer: With names of its own.

        Raises:
            ValueError: The model cannot be asked for classes of one's choosing.
        """
        other = copy.copy(self)
        other._ensemble = None  # is of this inferencer's model
        other.model = _with_own_state(self.model)
        other.model.head = _with_own_state(self.model.head)
        other.set_classes(classes)
        return other

    def _take_names(self, names: Sequence[str]) -> None:
        self.classes = tuple(names)
        trained = self._dataset_meta.get("classes") or ()
        groups = group_of(self._dataset_meta.get("groups") or {})
        by_name = {trained[index]: group for index, group in groups.items()}
        self.groups = tuple(by_name.get(name) for name in self.classes)
        stored = getattr(self.model, "_calibration", None)
        self.calibration = calibration_of(stored, self.classes)

    def __call__(
        self,
        inputs: Picture | Iterable[Picture],
        return_datasamples: bool = False,
        batch_size: int = 1,
        **kwargs,
    ) -> list[dict] | list[DataSample]:
        """Look at pictures; :meth:`stream` does it without keeping the results.

        Args:
            inputs: A path, a folder (with its subfolders), a pattern as ``'*.jpg'``,
                a numpy array (H, W, 3) in MMCV's order BGR, a PIL image, or a list of
                these.
            return_datasamples (bool): Give MMPretrain's data samples in place of
                dicts. Defaults to False.
            batch_size (int): Pictures that the model sees at once. Defaults to 1.
            **kwargs: See :meth:`stream`.

        Returns:
            list: One result a picture, see :meth:`stream`.
        """
        found = self.stream(inputs, return_datasamples, batch_size, **kwargs)
        return list(found)

    def stream(
        self,
        inputs: Picture | Iterable[Picture],
        return_datasamples: bool = False,
        batch_size: int = 1,
        progress: bool = True,
        candidate_labels: Sequence[str] | None = None,
        **kwargs,
    ) -> Iterator[dict] | Iterator[DataSample]:
        """Look at pictures one batch after the other, in constant memory.

        Args:
            inputs: See :meth:`__call__`; also a generator of pictures, which is read
                as far as needed.
            return_datasamples (bool): See :meth:`__call__`.
            batch_size (int): See :meth:`__call__`.
            progress (bool): Show a bar, where the error output is a terminal and there
                are several batches. Defaults to True.
            candidate_labels (Sequence[str], optional): Names to ask for in this call,
                in place of ``classes``; see :meth:`set_classes`. Defaults to None.
            **kwargs: Any of

                - ``thr``: from which probability a class is predicted: a number;
                  numbers by name; ``'calibrated'``. None: as calibrated, or else the
                  head's ``thr``, or 0.5.
                - ``topk``: with ``thr`` at most so many classes, without just so many.
                - ``tta``: average the views of the config's ``tta_pipeline``.
                - ``rgb``: arrays are RGB.
                - ``num_workers``: processes that decode; None: by the CPUs there are.
                - ``show_dir``, ``show``, ``draw_score``, ``resize``,
                  ``rescale_factor``, ``wait_time``: draw the predictions, as
                  MMPretrain's inferencers do.

        Returns:
            An iterator over one dict a picture, in order: ``img_path`` (None for
            pixels), ``pred_scores`` (C,), ``thresholds`` (C,), ``pred_label`` (indices
            of predicted classes, the most probable first, may be empty) and, for
            these, ``pred_score``, ``pred_class`` and ``pred_group`` (None where the
            checkpoint says nothing). A picture that cannot be read has ``error``, and
            neither scores nor thresholds.

        Raises:
            ValueError: An argument is unknown or cannot be; a folder has no picture.
        """
        if candidate_labels is not None:
            other = self.for_classes(candidate_labels)
            return other.stream(
                inputs, return_datasamples, batch_size, progress, **kwargs
            )
        groups = self._dispatch_kwargs(**kwargs)
        pictures = list_pictures(inputs)
        self._thresholds(**groups[1])  # complains before anything is read
        return self._results(
            pictures, return_datasamples, batch_size, progress, *groups
        )

    def _results(
        self,
        pictures: list | Iterator,
        return_datasamples: bool,
        batch_size: int,
        progress: bool,
        preprocess: dict,
        forward: dict,
        visualize: dict,
        postprocess: dict,
    ) -> Iterator[dict] | Iterator[DataSample]:
        used: set[str] = set()  # names of drawings
        total = len(pictures) if isinstance(pictures, list) else None
        batches = self.preprocess(pictures, batch_size, **preprocess)
        is_long = total is None or total > batch_size
        with _bar(progress and is_long) as bar:
            task = bar.add_task("pictures", total=total)
            for batch in batches:
                samples = self.forward(batch, **forward)
                drawn = self.visualize(batch.pictures, samples, used=used, **visualize)
                yield from self.postprocess(
                    samples, drawn, return_datasamples, **postprocess
                )
                bar.update(task, advance=len(samples), refresh=True)

    def _inputs_to_list(self, inputs: Picture | Iterable[Picture]) -> list | Iterator:
        return list_pictures(inputs)

    def _init_pipeline(self, cfg: Config) -> Compose:
        return _compose(pipeline_of(cfg))

    def preprocess(
        self,
        inputs: list | Iterator,
        batch_size: int = 1,
        rgb: bool = False,
        tta: bool = False,
        num_workers: int | None = None,
    ) -> Iterator[Batch]:
        """Decode and prepare pictures, see :meth:`stream`."""
        steps = self.pipeline
        if tta:
            self._ensemble, steps = self._test_time_ensemble()
        yield from load_batches(inputs, steps, batch_size, rgb, tta, num_workers)

    def _test_time_ensemble(self) -> tuple[BaseModel, Compose]:
        missing = [k for k in ("tta_model", "tta_pipeline") if k not in self.config]
        if missing:
            raise ValueError(
                f"tta=True needs {' and '.join(missing)} in the model's config, as "
                "configs/_base_/datasets/common.py has them."
            )
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            ensemble = MODELS.build(dict(self.config.tta_model, module=self.model))
        return ensemble.eval(), _compose(self.config.tta_pipeline)

    @torch.no_grad()
    def forward(
        self,
        inputs: Batch,
        thr: float | Mapping[str, float] | str | None = None,
        topk: int | None = None,
    ) -> list[DataSample]:
        """Predict a batch, see :meth:`stream`.

        Returns:
            list[DataSample]: With ``pred_score`` (C,), ``pred_label`` (the most
            probable first) and ``thresholds`` (C,); or with ``error``.
        """
        thresholds = self._thresholds(thr, topk)
        model = self._ensemble if inputs.tta else self.model
        found: dict[int, DataSample] = {}
        errors = dict(inputs.errors)
        for indices, data in inputs.groups:
            try:
                samples = model.test_step(data)
            except ValueError as error:  # of a size that the tower isn't made for
                errors |= dict.fromkeys(indices, str(error))
                continue
            found |= zip(indices, samples, strict=True)
        for sample in found.values():
            scores = self._scores(sample)
            labels = choose_labels(scores.numpy(), thresholds, thr is not None, topk)
            sample.set_pred_score(scores)
            sample.set_field(torch.tensor(labels, dtype=torch.long), "pred_label")
            sample.set_field(torch.from_numpy(thresholds), "thresholds")
        for index, reason in errors.items():
            found[index] = DataSample(metainfo=dict(error=reason))
        for index, picture in enumerate(inputs.pictures):
            path = picture if isinstance(picture, str) else None
            found[index].set_metainfo(dict(img_path=path))
        return [found[index] for index in range(len(inputs.pictures))]

    def _thresholds(self, thr=None, topk: int | None = None) -> np.ndarray:
        if topk is not None and topk < 1:
            raise ValueError(f"topk must be at least 1, got {topk}.")
        default = getattr(self.model.head, "thr", None)
        if self.is_zero_shot:
            default = 1 / len(self.classes)
        return choose_thresholds(
            thr, self.classes, self.calibration, 0.5 if default is None else default
        )

    def _scores(self, sample: DataSample) -> torch.Tensor:
        """Probabilities, (C,), on the CPU."""
        scores = sample.pred_score.cpu()
        if self.is_zero_shot:
            return sample.pred_logits.softmax(0)
        if self.calibration is None:
            return scores
        logits = sample.get("pred_logits")
        logits = scores.double().logit(1e-12) if logits is None else logits.double()
        calibrated = self.calibration.probabilities(logits.numpy())
        return torch.from_numpy(calibrated).to(scores.dtype)

    def visualize(
        self,
        inputs: list[Picture],
        preds: list[DataSample],
        show: bool = False,
        show_dir: str | None = None,
        used: set[str] | None = None,
        **kwargs,
    ) -> list[np.ndarray | None] | None:
        """Draw predictions, one PNG a picture.

        Args:
            inputs: The pictures.
            preds: Their predictions; those that failed aren't drawn.
            show: Show each in a window.
            show_dir: Folder for ``<stem>.png``; a number is added where two pictures
                have one stem.
            used: Names taken by earlier batches; changed in place.
            **kwargs: ``resize``, ``rescale_factor``, ``draw_score``, ``wait_time``, see
                MMPretrain's ``UniversalVisualizer.visualize_cls``.

        Returns:
            The drawings, RGB; None if none were asked for.
        """
        if not show and show_dir is None:
            return None
        if self.visualizer is None:
            self.visualizer = UniversalVisualizer()
        if show_dir is not None:
            Path(show_dir).mkdir(parents=True, exist_ok=True)
        used = set() if used is None else used
        drawn: list[np.ndarray | None] = []
        for picture, sample in zip(inputs, preds, strict=True):
            if "error" in sample:
                drawn.append(None)
                continue
            name = _unused_name(picture, used)
            file = None if show_dir is None else str(Path(show_dir, f"{name}.png"))
            image = self.visualizer.visualize_cls(
                _rgb(picture),
                sample,
                classes=self.classes,
                draw_gt=False,
                show=show,
                name=name,
                out_file=file,
                **kwargs,
            )
            drawn.append(image)
        return drawn

    def postprocess(
        self,
        preds: list[DataSample],
        visualization: list[np.ndarray | None] | None,
        return_datasamples: bool = False,
    ) -> list[dict] | list[DataSample]:
        """Make the dicts that :meth:`stream` describes."""
        return preds if return_datasamples else list(map(self._as_dict, preds))

    def _as_dict(self, sample: DataSample) -> dict:
        result = dict(img_path=sample.img_path)
        labels = []
        if "error" in sample:
            result["error"] = sample.error
        else:
            labels = sample.pred_label.tolist()
            result["pred_scores"] = sample.pred_score.numpy()
            result["thresholds"] = sample.thresholds.numpy()
        result["pred_label"] = labels
        result["pred_score"] = [float(sample.pred_score[label]) for label in labels]
        result["pred_class"] = [self.classes[label] for label in labels]
        result["pred_group"] = [self.groups[label] for label in labels]
        return result

    @staticmethod
    def list_models(pattern: str | None = None) -> list[str]:
        """Names of the models for several labels that MMPretrain's hub knows."""
        return list_models(pattern, task="Multi-Label Classification")


def inference_model(model, *args, **kwargs) -> dict:
    """Look at one picture, as :func:`mmpretrain.apis.inference_model` does.

    Args:
        model: First argument of :class:`MultiLabelInferencer`.
        *args: What to look at, and other positional arguments of a call.
        **kwargs: Arguments of :class:`MultiLabelInferencer` and of a call.

    Returns:
        dict: The result, see :meth:`MultiLabelInferencer.stream`.

    Examples:
        >>> inference_model('epoch_10.pth', 'picture.jpg', topk=3)['pred_class']
        ['dog', 'sofa', 'person']
    """
    known = signature(MultiLabelInferencer).parameters
    init = {name: kwargs.pop(name) for name in list(kwargs) if name in known}
    return MultiLabelInferencer(model, **init)(*args, **kwargs)[0]


def _with_own_state(module: nn.Module) -> nn.Module:
    """A copy with the same weights, whose parts and buffers can be exchanged."""
    other = copy.copy(module)
    other._modules, other._buffers = dict(module._modules), dict(module._buffers)
    return other


def _compose(steps: list[dict]) -> Compose:
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return Compose([TRANSFORMS.build(step) for step in steps])


def _bar(is_wanted: bool) -> Progress:
    console = Console(stderr=True)
    # Without a thread of its own, which must not hold a lock when workers are forked.
    return Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        auto_refresh=False,
        disable=not (is_wanted and console.is_terminal),
    )


def _rgb(picture: Picture) -> np.ndarray:
    """Pixels for drawing, upright."""
    if isinstance(picture, str):
        picture = LoadImage()(dict(img_path=picture))["img"]
    return np.ascontiguousarray(as_bgr(picture)[..., ::-1])


def _unused_name(picture: Picture, used: set[str]) -> str:
    """The picture's stem, with a number where it is taken; 0, 1, … for pixels."""
    stem = Path(picture).stem if isinstance(picture, str) else str(len(used))
    name, number = stem, 2
    while name.casefold() in used:  # some file systems know no case
        name, number = f"{stem}_{number}", number + 1
    used.add(name.casefold())
    return name
