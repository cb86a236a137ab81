"""A trained model with all that pictures don't change worked into its weights."""

import hashlib
import json
import re
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import torch
from mmengine.model import BaseModel
from mmpretrain.models.heads import MultiLabelClsHead
from torch import Tensor, nn

from .. import __version__
from ..models.identity import LoadsFrozenWeights
from .building import pipeline_of
from .inferencer import MultiLabelInferencer
from .labels import Calibration
from .pictures import Picture, list_pictures

# Names of what an exported file takes and gives; mmdeploy's, and the logits beside.
INPUT, OUTPUTS = "input", ("output", "logits")
# Logits that lie no further apart may change places: rounding makes as much.
_TIE = 2e-4
_TOPK = 5


class FoldedModel(nn.Module):
    """From images to probabilities and logits; nothing of the text branch is left.

    Class embeddings become a constant. LoRA and scale-and-shift are merged into the
    tower. A calibration is part of it.

    Args:
        model (BaseModel): A classifier with a head for several labels, in eval mode;
            folded in place, so that it scores as before up to rounding.
        calibration (Calibration, optional): Makes probabilities of logits. Defaults to
            None: a sigmoid.
        is_zero_shot (bool): Whether probabilities are a softmax. Defaults to False.
        normalize (bool): Take RGB images of 0…255, and subtract mean and divide by
            standard deviation inside. Defaults to False: images come normalised.

    Raises:
        ValueError: The head is for one label an image.
    """

    def __init__(
        self,
        model: BaseModel,
        calibration: Calibration | None = None,
        is_zero_shot: bool = False,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(model.head, MultiLabelClsHead):
            raise ValueError(
                f"{type(model.head).__name__} gives one label an image: expected a "
                "head for several, as CorrelationPromptHead or MultiLabelLinearClsHead."
            )
        for part, fold in (
            (model.head, "freeze_classes"),
            (model.backbone, "merge_adapters"),
        ):
            if hasattr(part, fold):
                getattr(part, fold)()
        self.model = model
        self.is_zero_shot = is_zero_shot
        scale, bias = (1.0, 0.0) if calibration is None else calibration[1:]
        for name, value in dict(scale=scale, bias=bias).items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32))
        for name, value in _statistics(model).items():
            self.register_buffer(name, value if normalize else None)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score images.

        Args:
            images: (B, 3, H, W) float32.

        Returns:
            Probabilities and logits, (B, C) each.
        """
        if self.mean is not None:
            images = (images - self.mean) / self.std
        logits = self.model(images)
        if self.is_zero_shot:
            return logits.softmax(-1), logits
        return (self.scale * logits + self.bias).sigmoid(), logits


class Prepared(NamedTuple):
    """A folded model, and what an exported file of it has to give.

    Attributes:
        model: What is exported.
        images: (N, 3, H, W) float32, real pictures as the file takes them.
        probabilities: (N, C), what the inferencer says of them.
        logits: (N, C), the model's before folding.
        metadata: What whoever uses the file needs to know, as JSON can hold it.
    """

    model: FoldedModel
    images: Tensor
    probabilities: Tensor
    logits: Tensor
    metadata: dict


@torch.no_grad()
def prepare(
    inferencer: MultiLabelInferencer,
    pictures: Picture | Iterable[Picture],
    normalize: bool = False,
    num_pictures: int = 16,
) -> Prepared:
    """Fold an inferencer's model and note what it says of some pictures.

    Args:
        inferencer: Its model is folded in place.
        pictures: As an inferencer takes them. Those that cannot be read are left out.
        normalize: See :class:`FoldedModel`.
        num_pictures: So many are taken at most.

    Returns:
        All that a file is written and checked with.

    Raises:
        ValueError: No picture can be read, or the pipeline gives several sizes.
    """
    model = inferencer.model
    taken = list(islice(list_pictures(pictures), num_pictures))
    pixels, normalized, logits, scores = [], [], [], []
    for batch in inferencer.preprocess(taken, batch_size=8):
        samples = inferencer.forward(batch)
        for indices, data in batch.groups:
            seen = model.data_preprocessor(data, False)["inputs"]
            normalized.append(seen)
            logits.append(model(seen))
            scores += [samples[index].pred_score for index in indices]
            pixels.append(data["inputs"])
    sizes = sorted({tuple(part.shape[-2:]) for part in pixels})
    if len(sizes) != 1:
        raise ValueError(
            f"Of {len(taken)} pictures the test pipeline made images of the sizes "
            f"{sizes or 'none'} (height x width): an exported file takes one size, and "
            "is checked on pictures. Name pictures that can be read, and let the "
            "pipeline end in a crop."
        )
    metadata = describe(inferencer, sizes[0], normalize)
    folded = FoldedModel(
        model, inferencer.calibration, inferencer.is_zero_shot, normalize
    )
    if normalize:
        images = torch.cat(pixels).to(normalized[0])
        images = images.flip(1) if model.data_preprocessor.to_rgb else images
    else:
        images = torch.cat(normalized)
    return Prepared(
        folded.eval(), images, torch.stack(scores), torch.cat(logits).cpu(), metadata
    )


def describe(
    inferencer: MultiLabelInferencer, size: tuple[int, int], normalize: bool = False
) -> dict:
    """Say what whoever uses an exported file needs to know.

    Args:
        inferencer: Its model isn't folded yet.
        size: Height and width of the images.
        normalize: Whether the file normalises.

    Returns:
        ``classes``, ``prompt_names``, ``groups`` (None where not known),
        ``thresholds`` of the probabilities, ``calibration``, ``preprocessing`` (steps
        of the pipeline; ``size``; ``color``; ``mean`` and ``std`` that are still to be
        applied to 0…255), ``clip`` (with a fingerprint of its frozen weights) and
        ``capnet_mm``, the version.
    """
    model, calibration = inferencer.model, inferencer.calibration
    told = model._told_meta if hasattr(model, "_told_meta") else model._dataset_meta
    words = dict(
        zip(told.get("classes") or (), told.get("prompt_names") or (), strict=False)
    )
    statistics = _statistics(model)
    if normalize:
        statistics = dict(mean=torch.zeros(3), std=torch.ones(3))
    return dict(
        classes=list(inferencer.classes),
        prompt_names=[words.get(name, name) for name in inferencer.classes],
        groups=list(inferencer.groups),
        thresholds=inferencer._thresholds().tolist(),
        calibration=calibration
        and {key: getattr(calibration, key).tolist() for key in ("scale", "bias")},
        preprocessing=dict(
            pipeline=[dict(step) for step in pipeline_of(inferencer.config)],
            size=list(size),
            color="RGB" if model.data_preprocessor.to_rgb else "BGR",
            **{name: value.flatten().tolist() for name, value in statistics.items()},
        ),
        clip=_describe_clip(model),
        capnet_mm=__version__,
    )


def check(
    prepared: Prepared,
    probabilities: Tensor,
    logits: Tensor,
    tolerance: float = 1e-4,
) -> dict:
    """Compare what a file gives with what the model gave before.

    Args:
        prepared: What was exported.
        probabilities: (N, C) of the file.
        logits: (N, C) of the file.
        tolerance: Largest difference that is let pass.

    Returns:
        ``pictures``, ``max_difference`` (of logits) and ``same_topk``, the share of
        pictures with the same five best classes in the same order.

    Raises:
        ValueError: The file gives something else.
    """
    report = compare(prepared, logits)
    of_output = float((probabilities - prepared.probabilities).abs().max())
    # Not `>`: a NaN is no agreement.
    if not max(report["max_difference"], of_output) <= tolerance or not _same_ranking(
        prepared.logits, logits
    ):
        raise ValueError(
            "The exported model is refused: on "
            f"{report['pictures']} pictures its logits differ from PyTorch's by up to "
            f"{report['max_difference']:.1e} and its probabilities by {of_output:.1e} "
            f"(tolerance {tolerance:.0e}); {report['same_topk']:.0%} have the same "
            f"{_TOPK} best classes. Nothing was written."
        )
    return report


def compare(prepared: Prepared, logits: Tensor) -> dict:
    """Say how far a file's logits are from the model's, see :func:`check`."""
    k = min(_TOPK, logits.shape[1])
    same = logits.topk(k).indices == prepared.logits.topk(k).indices
    return dict(
        pictures=len(logits),
        max_difference=float((logits - prepared.logits).abs().max()),
        same_topk=float(same.all(1).float().mean()),
    )


def _same_ranking(expected: Tensor, found: Tensor) -> bool:
    """Whether the best classes agree, up to the order of equal ones."""
    k = min(_TOPK, expected.shape[1])
    best = expected.topk(k).values
    chosen = expected.gather(1, found.topk(k).indices)
    return bool(((best - chosen).abs() <= _TIE).all())


def _statistics(model: BaseModel) -> dict[str, Tensor]:
    """Mean and standard deviation of the input's channels, in 0…255, (3, 1, 1)."""
    preprocessor = model.data_preprocessor
    neutral = dict(mean=torch.zeros(3, 1, 1), std=torch.ones(3, 1, 1))
    return {name: getattr(preprocessor, name, value) for name, value in neutral.items()}


def _describe_clip(model: BaseModel) -> dict | None:
    config = model._config.model
    clip = config.get("clip") or config.head.get("text_encoder")
    frozen = [
        module.identity()["frozen_weights"]
        for module in (model.backbone, getattr(model.head, "text_encoder", None))
        if isinstance(module, LoadsFrozenWeights)
    ]
    if clip is None or not frozen:
        return None
    name, weights = clip["model"], clip.get("pretrained")
    if ":" in name:  # brings its weights along; where it lies is nobody's business
        name, weights = re.sub(r"(?<=local-dir:).*/(?=.)", "", name.rstrip("/")), None
    checksums = json.dumps(frozen, sort_keys=True).encode()
    fingerprint = hashlib.sha256(checksums).hexdigest()[:16]
    return dict(model=name, pretrained=weights, fingerprint=fingerprint)
