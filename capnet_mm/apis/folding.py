"""A trained model with all that pictures don't change worked into its weights."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import torch
from mmengine.model import BaseModel
from mmpretrain.models.heads import MultiLabelClsHead
from torch import Tensor, nn

from .. import __version__
from ..evaluation.stored_calibration import StoredCalibration
from ..models.identity import LoadsFrozenWeights
from .building import pipeline_of
from .inferencer import MultiLabelInferencer
from .pictures import Picture, list_pictures

# Names of what an exported file takes and gives; mmdeploy's, and beside them logits and
# class activation maps.
INPUT, OUTPUT, LOGITS, MAPS = "input", "output", "logits", "maps"
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
        calibration (StoredCalibration, optional): Makes probabilities of logits.
            Defaults to None: a sigmoid.
        is_zero_shot (bool): Whether probabilities are a softmax. Defaults to False.
        normalize (bool): Take RGB images of 0…255, and subtract mean and divide by
            standard deviation inside. Defaults to False: images come normalised.
        maps (bool): Also give how much each place counts for a class, where the head
            pools locally. Defaults to False.

    Raises:
        ValueError: The head is for one label an image, or has no maps.
    """

    def __init__(
        self,
        model: BaseModel,
        calibration: StoredCalibration | None = None,
        is_zero_shot: bool = False,
        normalize: bool = False,
        maps: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(model.head, MultiLabelClsHead):
            raise ValueError(
                f"{type(model.head).__name__} gives one label an image: expected a "
                "head for several, as CorrelationPromptHead or MultiLabelLinearClsHead."
            )
        if maps and not getattr(model.head, "needs_features", False):
            raise ValueError(
                "Maps need a head with local pooling, which this model was trained "
                "without: pooling=dict(type='ClassPooling')."
            )
        for part, fold in (
            (model.head, "freeze_classes"),
            (model.backbone, "merge_adapters"),
        ):
            if hasattr(part, fold):
                getattr(part, fold)()
        self.model = model
        self.is_zero_shot = is_zero_shot
        self.output_names = (OUTPUT, LOGITS, MAPS) if maps else (OUTPUT, LOGITS)
        for name, neutral in dict(scale=1.0, bias=0.0).items():
            value = torch.as_tensor(getattr(calibration, name, neutral))
            self.register_buffer(name, value.float())
        for name, value in _statistics(model).items():
            self.register_buffer(name, value if normalize else None)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Score images.

        Args:
            images: (B, 3, H, W) float32.

        Returns:
            Probabilities and logits, (B, C) each, and maps, (B, C, h, w), if wanted.
        """
        if self.mean is not None:
            images = (images - self.mean) / self.std
        features = self.model.extract_feat(images)
        logits = self.model.head(features)
        if self.is_zero_shot:
            probabilities = logits.softmax(-1)
        else:
            probabilities = (self.scale * logits + self.bias).sigmoid()
        if MAPS not in self.output_names:
            return probabilities, logits
        _, maps = self.model.head.class_activation_maps(features)
        return probabilities, logits, maps


class Prepared(NamedTuple):
    """A folded model, and what an exported file of it has to give.

    Attributes:
        model: What is exported.
        images: (N, 3, H, W) float32, real pictures as the file takes them.
        expected: By the names of the outputs: the probabilities that the inferencer
            gives, (N, C), and the model's logits, (N, C), and maps before folding.
        metadata: What whoever uses the file needs to know, as JSON can hold it.
    """

    model: FoldedModel
    images: Tensor
    expected: dict[str, Tensor]
    metadata: dict


@torch.no_grad()
def prepare(
    inferencer: MultiLabelInferencer,
    pictures: Picture | Iterable[Picture],
    normalize: bool = False,
    maps: bool = False,
    num_pictures: int = 16,
) -> Prepared:
    """Fold an inferencer's model and note what it says of some pictures.

    Args:
        inferencer: Its model is folded in place.
        pictures: As an inferencer takes them. Those that cannot be read are left out.
        normalize: See :class:`FoldedModel`.
        maps: See :class:`FoldedModel`.
        num_pictures: So many are taken at most.

    Returns:
        All that a file is written and checked with.

    Raises:
        ValueError: No picture can be read, or the pipeline gives several sizes.
    """
    model = inferencer.model
    taken = list(islice(list_pictures(pictures), num_pictures))
    images, expected = [], defaultdict(list)
    for batch in inferencer.preprocess(taken, batch_size=8):
        samples = inferencer.forward(batch)
        for indices, data in batch.groups:
            seen = model.data_preprocessor(data, False)["inputs"]
            images.append(_colours(model, data["inputs"]) if normalize else seen)
            expected[OUTPUT] += [samples[index].pred_score for index in indices]
            expected[LOGITS] += model(seen)
            if maps:
                features = model.extract_feat(seen)
                expected[MAPS] += model.head.class_activation_maps(features)[1]
    sizes = sorted({tuple(part.shape[-2:]) for part in images})
    if len(sizes) != 1:
        raise ValueError(
            f"Of {len(taken)} pictures the test pipeline made images of the sizes "
            f"{sizes or 'none'} (height x width): an exported file takes one size, and "
            "is checked on pictures. Name pictures that can be read, and let the "
            "pipeline end in a crop."
        )
    metadata = describe(inferencer, sizes[0], normalize)
    folded = FoldedModel(
        model, inferencer.calibration, inferencer.is_zero_shot, normalize, maps
    )
    outputs = {name: torch.stack(parts).cpu() for name, parts in expected.items()}
    return Prepared(folded.eval(), torch.cat(images), outputs, metadata)


def _colours(model: BaseModel, pixels: Tensor) -> Tensor:
    """Pixels, (B, 3, H, W), in the order that the model takes, not normalised."""
    preprocessor = model.data_preprocessor
    pixels = preprocessor.cast_data(pixels).float()
    return pixels.flip(1) if preprocessor.to_rgb else pixels


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
    prepared: Prepared, found: dict[str, Tensor], tolerance: float = 1e-4
) -> dict:
    """Compare what a file gives with what the model gave before.

    Args:
        prepared: What was exported.
        found: The file's outputs, by name.
        tolerance: Largest difference that is let pass.

    Returns:
        See :func:`compare`.

    Raises:
        ValueError: The file gives something else.
    """
    report = compare(prepared, found)
    differences = {
        name: float((found[name] - expected).abs().max())
        for name, expected in prepared.expected.items()
    }
    # A NaN is no agreement.
    agree = all(difference <= tolerance for difference in differences.values())
    if not agree or not _same_ranking(prepared.expected[LOGITS], found[LOGITS]):
        listed = ", ".join(f"{key} by {each:.1e}" for key, each in differences.items())
        raise ValueError(
            f"The exported model is refused: on {report['pictures']} pictures it "
            f"differs from PyTorch's in {listed} (tolerance {tolerance:.0e}), and "
            f"{report['same_topk']:.0%} have the same {_TOPK} best classes. Nothing "
            "was written."
        )
    return report


def compare(prepared: Prepared, found: dict[str, Tensor]) -> dict:
    """Say how far a file's logits are from the model's.

    Args:
        prepared: What was exported.
        found: The file's outputs, by name.

    Returns:
        ``pictures``, ``max_difference`` (of logits) and ``same_topk``, the share of
        pictures with the same five best classes in the same order.
    """
    expected, logits = prepared.expected[LOGITS], found[LOGITS]
    k = min(_TOPK, logits.shape[1])
    same = logits.topk(k).indices == expected.topk(k).indices
    return dict(
        pictures=len(logits),
        max_difference=float((logits - expected).abs().max()),
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
