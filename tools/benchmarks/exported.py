"""An exported model: PyTorch, ONNX Runtime and eight bits, time and mAP."""

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from capnet_mm.apis import MultiLabelInferencer
from capnet_mm.apis.folding import FoldedModel, prepare
from capnet_mm.apis.pictures import load_batches
from capnet_mm.datasets.list_files import read_image_list
from capnet_mm.evaluation import average_precision

from .measure import Measurement, device_name, interleave, max_difference, paired_ratio

PYTORCH, ONNX, INT8 = "PyTorch", "ONNX float32", "ONNX int8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe what to measure; the CLIP is the checkpoint's, whatever --clip says."""
    parser.add_argument("--checkpoint", required=True, help="a trained model")
    parser.add_argument(
        "--list", required=True, help="images with labels, as a training reads them"
    )
    parser.add_argument(
        "--root", help="folder where its paths start; default: the list's"
    )
    parser.add_argument("--batch-size", type=int, default=16, help="B; default: 16")
    parser.add_argument(
        "--calibration",
        nargs="+",
        metavar="PICTURE",
        help="what int8 takes its ranges from; default: images of the list",
    )


@torch.no_grad()
def run(args: argparse.Namespace) -> list[Measurement]:
    """Measure one model in three forms."""
    # Imported late: needs the extra [export], as no other benchmark does.
    from capnet_mm.apis.onnx import to_int8, to_onnx

    inferencer = MultiLabelInferencer(args.checkpoint, device="cpu")
    root = Path(args.root or Path(args.list).parent)
    entries = read_image_list(
        args.list, len(inferencer.classes), inferencer.classes, inferencer.classes
    )
    paths = [str(root / entry["img_path"]) for entry in entries]
    prepared = prepare(inferencer, args.calibration or paths, num_pictures=32)
    content = to_onnx(prepared)
    forms = {
        PYTORCH: partial(_logits_of_pytorch, prepared.model),
        ONNX: _logits_of_onnx(content),
        INT8: _logits_of_onnx(to_int8(content, prepared)),
    }
    images = _batches(inferencer, islice(paths, args.batch_size), args.batch_size)
    images = next(iter(images))
    timings = interleave(
        {name: partial(form, images) for name, form in forms.items()}, args.rounds
    )
    speeds = [
        f"{name} {paired_ratio(timings[PYTORCH], timings[name]).median:.2f}×"
        for name in (ONNX, INT8)
    ]
    targets = _targets(entries, len(inferencer.classes))
    scores = {name: [] for name in forms}
    for batch in _batches(inferencer, paths, args.batch_size):
        for name, form in forms.items():
            scores[name].append(form(batch))
    found = {name: torch.cat(parts) for name, parts in scores.items()}
    quality = [f"{name} {_map(each, targets):.2f}" for name, each in found.items()]
    return [
        Measurement(
            what=f"{Path(args.checkpoint).name}, {len(images)} images",
            device=device_name("cpu"),
            timings=timings,
            figure=f"as fast as PyTorch: {', '.join(speeds)}",
            max_difference=max_difference([found[PYTORCH]], [found[ONNX]]),
            note=f"mAP on {len(paths)} images: {', '.join(quality)}; the difference is "
            "that of float32 logits",
        )
    ]


def _batches(
    inferencer: MultiLabelInferencer, paths: Iterable[str], batch_size: int
) -> Iterable[Tensor]:
    """Normalised images, (B, 3, H, W)."""
    for batch in load_batches(paths, inferencer.pipeline, batch_size):
        ((_, data),) = batch.groups
        yield inferencer.model.data_preprocessor(data, False)["inputs"]


def _logits_of_pytorch(model: FoldedModel, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(images)[1]


def _logits_of_onnx(content: bytes) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"]
    )

    def logits(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["logits"], {"input": images.numpy()})[0])

    return logits


def _targets(entries: list[dict], num_classes: int) -> np.ndarray:
    targets = np.zeros((len(entries), num_classes), dtype=np.int8)
    for target, entry in zip(targets, entries, strict=True):
        target[entry["gt_label"]] = 1
        target[entry.get("gt_unknown", [])] = -1
    return targets


def _map(logits: Tensor, targets: np.ndarray) -> float:
    return 100 * float(np.nanmean(average_precision(logits.numpy(), targets)))
