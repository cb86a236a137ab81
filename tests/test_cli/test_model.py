"""Flags that say which model is asked."""

import argparse

import pytest

from capnet_mm import apis
from capnet_mm.cli.model import add_model_arguments, build_inferencer


@pytest.mark.parametrize(
    ("words", "positional", "named"),
    [
        (["a.pth"], ["a.pth"], dict(clip=None, pretrained=None, trust_config=False)),
        (
            ["a.pth", "--clip", "local-dir:c", "--classes", "dog", "cat"],
            ["a.pth"],
            dict(clip="local-dir:c", classes=["dog", "cat"]),
        ),
        (
            ["a.pth", "--config", "c.py", "--clip", "ViT-B-16", "--pretrained", "tag"],
            ["c.py", "a.pth"],
            dict(clip=dict(model="ViT-B-16", pretrained="tag")),
        ),
        (
            ["zero-shot", "--clip", "RN50", "--pretrained", "openai"],
            [],
            dict(clip="RN50", pretrained="openai"),
        ),
        (["a.pth", "--trust-config"], ["a.pth"], dict(trust_config=True)),
    ],
)
def test_flags_become_arguments_of_the_inferencer(
    monkeypatch, words, positional, named
):
    seen = []
    monkeypatch.setattr(
        apis,
        "MultiLabelInferencer",
        lambda *args, **kwargs: seen.append((args, kwargs)),
    )
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    build_inferencer(parser.parse_args([*words, "--device", "cpu"]))
    ((args, kwargs),) = seen
    assert list(args) == positional
    assert named.items() <= kwargs.items() and kwargs["device"] == "cpu"
