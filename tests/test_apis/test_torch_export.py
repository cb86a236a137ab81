"""A program of torch.export runs where this package is not."""

import json

import numpy as np
import torch
from conftest import run_python

from capnet_mm.apis import torch_export
from capnet_mm.apis.torch_export import export_program

from .exporting import make_inferencer

ALONE = """
import sys
for name in ("capnet_mm", "mmpretrain", "mmengine", "open_clip"):
    sys.modules[name] = None
import torch
files = {"metadata.json": ""}
torch.set_grad_enabled(False)
program = torch.export.load(sys.argv[1], extra_files=files).module()
images = torch.load(sys.argv[2])
probabilities, logits = program(images)
one, _ = program(images[:1])
torch.save((probabilities, logits, one, files["metadata.json"]), sys.argv[2])
"""


def test_the_program_runs_without_this_package(clips, pictures, tmp_path):
    inferencer = make_inferencer(clips, "vit")
    expected = np.stack([each["pred_scores"] for each in inferencer(pictures)])
    report = export_program(inferencer, pictures, tmp_path)["end2end"]
    assert report["path"] == str(tmp_path / "end2end.pt2")
    images = torch_export.prepare(make_inferencer(clips, "vit"), pictures).images
    torch.save(images, tmp_path / "exchange.pt")
    done = run_python(ALONE, report["path"], str(tmp_path / "exchange.pt"))
    assert done.returncode == 0, done.stderr
    probabilities, _, one, text = torch.load(tmp_path / "exchange.pt")
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(one, expected[:1], atol=1e-5)
    beside = json.loads((tmp_path / "end2end.json").read_text())
    assert json.loads(text) == {k: v for k, v in beside.items() if k != "checked"}
