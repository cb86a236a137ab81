"""Export to ONNX, for ONNX Runtime and whatever else reads it."""

import contextlib
import io
import json
import logging
import os
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from ..fileio import replace_files
from .folding import INPUT, LOGITS, Prepared, check, compare, prepare
from .inferencer import MultiLabelInferencer
from .pictures import Picture

NAME, INT8_NAME = "end2end", "end2end_int8"
_PRODUCTS = ("MatMul", "Gemm")
# Protobuf cannot hold more in one file.
_LARGEST = 2**31 - 1


def export_onnx(
    inferencer: MultiLabelInferencer,
    pictures: Picture | Iterable[Picture],
    folder: str | Path,
    normalize: bool = False,
    int8: bool = False,
    maps: bool = False,
    tolerance: float = 1e-4,
) -> dict[str, dict]:
    """Write ``end2end.onnx``, and ``end2end.json`` with what it holds in itself too.

    The file takes ``input``, (B, 3, H, W) float32, and gives ``output``, the
    probabilities, and ``logits``, (B, C) each; B is dynamic. Its metadata are described
    at :func:`~capnet_mm.apis.folding.describe`, in ``metadata_props`` each as JSON.

    Args:
        inferencer: What is exported; its model is folded in place.
        pictures: Real pictures, on which ONNX Runtime has to agree with PyTorch; with
            ``int8`` they also tell the range of activations.
        folder: Where the files are written; made if it is not there.
        normalize: Take RGB images of 0…255, normalised inside. Defaults to False.
        int8: Also write ``end2end_int8.onnx``. It isn't refused, however much it
            differs: measure it. Defaults to False.
        maps: A third output ``maps``, (B, C, h, w), how much each place counts for a
            class, of a head with local pooling. Defaults to False.
        tolerance: Largest difference of logits and probabilities. Defaults to 1e-4.

    Returns:
        For each file its ``path`` and what ``check`` found.

    Raises:
        ValueError: ONNX Runtime gives something else, or the model is too large for
            one file; nothing is written then.
    """
    # More pictures than the check needs: they set the ranges of int8.
    prepared = prepare(inferencer, pictures, normalize, maps, num_pictures=32)
    content = to_onnx(prepared)
    report = check(prepared, run(content, prepared.images), tolerance)
    contents, reports = {NAME: content}, {NAME: report}
    if int8:
        contents[INT8_NAME] = to_int8(content, prepared)
        found = run(contents[INT8_NAME], prepared.images)
        reports[INT8_NAME] = compare(prepared, found)
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"{name}.onnx": content for name, content in contents.items()}
    for name, found in reports.items():
        text = json.dumps(
            dict(prepared.metadata, checked=found), ensure_ascii=False, indent=1
        )
        files[folder / f"{name}.json"] = f"{text}\n".encode()
    replace_files(files)
    return {
        name: dict(found, path=str(folder / f"{name}.onnx"))
        for name, found in reports.items()
    }


def to_onnx(prepared: Prepared) -> bytes:
    """Translate a folded model.

    Args:
        prepared: Of :func:`~capnet_mm.apis.folding.prepare`.

    Returns:
        Content of an ONNX file.

    Raises:
        ValueError: The weights are too large for one file.
    """
    example = prepared.images[[0, -1]]  # two: a batch of one would be taken for fixed
    with torch.no_grad(), _quietly():
        program = torch.onnx.export(
            prepared.model,
            (example,),
            input_names=[INPUT],
            output_names=list(prepared.model.output_names),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    weights = program.model.graph.initializers.values()
    size = sum(value.const_value.nbytes for value in weights)
    if size > _LARGEST:
        raise ValueError(
            f"The model's weights take {size / 2**30:.1f} GiB, and an ONNX file holds "
            "2 GiB: export with --format torch_export."
        )
    model = program.model_proto
    return _with_metadata(model, prepared.metadata)


def to_int8(content: bytes, prepared: Prepared) -> bytes:
    """Quantise the weights of a file to eight bits.

    Where most weights are in convolutions, activations are quantised with ranges from
    the prepared images (ONNX Runtime's dynamic convolutions are slower than float32),
    as far as the last convolution, and what follows stays float32; else matrix products
    are quantised dynamically, those with a weight for each class, such as the class
    embeddings, excepted.

    Args:
        content: Of :func:`to_onnx`.
        prepared: What it was made from.

    Returns:
        Content of an ONNX file, with the metadata of the first.
    """
    weights = dict(per_channel=True, weight_type=QuantType.QInt8)
    num_classes = prepared.expected[LOGITS].shape[1]
    with tempfile.TemporaryDirectory() as folder, _quietly():
        source, cleaned, target = (os.path.join(folder, name) for name in "abc")
        Path(source).write_bytes(content)
        quant_pre_process(source, cleaned, skip_symbolic_shape=True)
        model = onnx.load(cleaned)
        if _is_convolutional(model):
            behind = _names_behind_convolutions(model)
            images = _ImagesToCalibrate(prepared.images)
            quantize_static(cleaned, target, images, nodes_to_exclude=behind, **weights)
        else:
            quantize_dynamic(
                cleaned,
                target,
                op_types_to_quantize=_PRODUCTS,
                nodes_to_exclude=_products_of_classes(model, num_classes),
                **weights,
            )
        return _with_metadata(onnx.load(target), prepared.metadata)


def run(content: bytes, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Run a file in ONNX Runtime on the CPU.

    Args:
        content: Of an ONNX file.
        images: (N, 3, H, W), which go through it in two batches of unlike size.

    Returns:
        Outputs by name, (N, …) each.
    """
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    parts = [part for part in (images[:1], images[1:]) if len(part)]
    outputs = [session.run(names, {INPUT: part.cpu().numpy()}) for part in parts]
    joined = map(np.concatenate, zip(*outputs, strict=True))
    return dict(zip(names, map(torch.from_numpy, joined), strict=True))


def _with_metadata(model: onnx.ModelProto, metadata: dict) -> bytes:
    """Content of a file that holds the metadata, and none of the tools' own."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(
        model, {key: json.dumps(value) for key, value in metadata.items()}
    )
    return model.SerializeToString()


def _names_behind_convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of all nodes behind the last convolution."""
    nodes = list(model.graph.node)
    last = max(i for i, node in enumerate(nodes) if node.op_type == "Conv")
    return [node.name for node in nodes[last + 1 :]]


def _products_of_classes(model: onnx.ModelProto, num_classes: int) -> list[str]:
    """Names of the products that have a weight for each class.

    A head with local pooling has several: with the pooled feature, with the places.
    """
    weights = {w.name for w in model.graph.initializer if num_classes in w.dims}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in _PRODUCTS and weights.intersection(node.input)
    ]


def _is_convolutional(model: onnx.ModelProto) -> bool:
    """Whether most weights are in convolutions."""
    sizes = {w.name: int(np.prod(w.dims)) for w in model.graph.initializer}
    total: dict[str, int] = defaultdict(int)
    for node in model.graph.node:
        total[node.op_type] += sum(sizes.get(name, 0) for name in node.input)
    return total["Conv"] > sum(total[name] for name in _PRODUCTS)


class _ImagesToCalibrate(CalibrationDataReader):
    def __init__(self, images: torch.Tensor) -> None:
        self.batches = iter(images.split(8))

    def get_next(self) -> dict | None:
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch.cpu().numpy()}


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep from users what exporter and quantiser say about themselves."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
