"""Export as a program of ``torch.export``, which PyTorch runs without this package."""

import io
import json
from collections.abc import Iterable
from pathlib import Path

import torch

from ..fileio import replace_files
from .folding import check, prepare
from .inferencer import MultiLabelInferencer
from .pictures import Picture

NAME = "end2end"
# The metadata's name among the file's extra files.
METADATA = "metadata.json"


@torch.no_grad()
def export_program(
    inferencer: MultiLabelInferencer,
    pictures: Picture | Iterable[Picture],
    folder: str | Path,
    normalize: bool = False,
    maps: bool = False,
    tolerance: float = 1e-4,
) -> dict[str, dict]:
    """Write ``end2end.pt2``, and ``end2end.json`` with what it holds in itself too.

    The program takes images (B, 3, H, W) and returns probabilities and logits, (B, C)
    each; B is dynamic.

    Args:
        inferencer: What is exported; its model is folded in place.
        pictures: Real pictures, on which the file has to agree with the model.
        folder: Where the files are written; made if it is not there.
        normalize: Take RGB images of 0…255, normalised inside. Defaults to False.
        maps: A third output, (B, C, h, w), how much each place counts for a class, of
            a head with local pooling. Defaults to False.
        tolerance: Largest difference of logits and probabilities. Defaults to 1e-4.

    Returns:
        The file's ``path`` and what ``check`` found, under its name.

    Raises:
        ValueError: The file gives something else; nothing is written then.

    Examples:
        >>> program = torch.export.load("end2end.pt2").module()
        >>> probabilities, logits = program(images)
    """
    prepared = prepare(inferencer, pictures, normalize, maps)
    program = torch.export.export(
        prepared.model,
        (prepared.images[[0, -1]],),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    metadata = json.dumps(prepared.metadata, ensure_ascii=False)
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={METADATA: metadata})
    file.seek(0)
    loaded = torch.export.load(file).module()
    outputs = [output.cpu() for output in loaded(prepared.images)]
    found = dict(zip(prepared.model.output_names, outputs, strict=True))
    report = check(prepared, found, tolerance)
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        dict(prepared.metadata, checked=report), ensure_ascii=False, indent=1
    )
    path = folder / f"{NAME}.pt2"
    replace_files(
        {path: file.getvalue(), folder / f"{NAME}.json": f"{text}\n".encode()}
    )
    return {NAME: dict(report, path=str(path))}
