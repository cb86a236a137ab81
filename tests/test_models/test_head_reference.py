"""Logits, gradients and checkpoint keys are those that were recorded.

Recorded at commit 6e5c678, before the head's parts became objects, by
``python tests/test_models/test_head_reference.py``.
"""

import json
import sys
from pathlib import Path

import pytest
import torch

REFERENCE = Path(__file__).with_name("head_reference.json")
NAMES = ["dog", "cat", "dining table", "tv", "hot air balloon"]
CASES = {
    "whole": dict(bias=-2.0, gcn=dict(zero_init=False), graph=dict(topk=2)),
    "sharpened graph": dict(
        gcn=dict(zero_init=False, gamma=0.5, learnable_gamma=True),
        graph=dict(topk=3, center=True, temperature=0.1),
    ),
    "without prompts": dict(prompt=None, gcn=dict(zero_init=False)),
    "without graph": dict(graph=None, gcn=dict(zero_init=False)),
    "without gcn": dict(gcn=None),
    "zero-shot": dict(prompt=None, gcn=None, temperature=0.01),
    "shared words": dict(
        prompt=dict(init_words="a photo of a", class_specific=False), temperature=0.05
    ),
    "projected": dict(in_channels=6, gcn=dict(zero_init=False)),
}


def describe(clip: str, options: dict) -> dict:
    """What must stay: keys, logits, and length and sum of every gradient."""
    import capnet_mm  # noqa: F401
    from capnet_mm.models import CorrelationPromptHead

    torch.manual_seed(0)
    head = CorrelationPromptHead(
        classes=NAMES, text_encoder=dict(model=clip), **options
    )
    generator = torch.Generator().manual_seed(1)
    for name, parameter in sorted(head.named_parameters()):
        if parameter.requires_grad and "logit" not in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    width = options.get("in_channels", head.text_encoder.out_dim)
    features = torch.randn(3, width, generator=generator)
    logits = head((features,))
    logits.square().mean().backward()
    gradients = {
        name: [float(p.grad.norm()), float(p.grad.sum())]
        for name, p in sorted(head.named_parameters())
        if p.requires_grad
    }
    saved = [key for key in head.state_dict() if not key.startswith("text_encoder")]
    return dict(keys=sorted(saved), logits=logits.tolist(), gradients=gradients)


@pytest.mark.parametrize("case", list(CASES))
def test_logits_gradients_and_keys_are_those_recorded(case, tiny_clip):
    expected = json.loads(REFERENCE.read_text())[case]
    found = describe(tiny_clip, CASES[case])
    assert found["keys"] == expected["keys"]
    torch.testing.assert_close(
        torch.tensor(found["logits"]),
        torch.tensor(expected["logits"]),
        rtol=1e-5,
        atol=1e-5,
    )
    assert found["gradients"].keys() == expected["gradients"].keys()
    for name, values in expected["gradients"].items():
        assert found["gradients"][name] == pytest.approx(
            values, rel=1e-4, abs=1e-5 * max(1, values[0])
        )


if __name__ == "__main__":
    import tempfile

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from conftest import write_clip

    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder, "vit"), "vit")
        found = {case: describe(clip, options) for case, options in CASES.items()}
    REFERENCE.write_text(json.dumps(found, indent=1) + "\n")
