"""Every benchmark runs, on sizes that take no time, and compares like with like."""

import argparse
import json
import runpy
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from mmengine.logging import MessageHub

from benchmarks import (
    gpu_use,
    many_classes,
    metric,
    prediction,
    text_branch,
    train_step,
)
from benchmarks.baselines import (
    FullLengthTextEncoder,
    everything_in_autograd,
    restore_layers,
)
from benchmarks.cases import class_names
from capnet_mm.datasets import pareto_counts
from capnet_mm.engine.hooks import statistics_hook
from capnet_mm.models import CLIPBackbone

TOOL = Path(__file__).resolve().parents[2] / "tools" / "benchmark.py"


def run(module, clip, *options):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    args = parser.parse_args(list(options))
    return module.run(
        argparse.Namespace(**vars(args), device="cpu", rounds=1, clip=clip)
    )


def test_text_branch(tiny_clip):
    (row,) = run(text_branch, tiny_clip, "--classes", "12")
    assert set(row.timings) == {"all weights in autograd", "weights frozen", "ours"}
    assert set(row.peak_bytes) == set(row.timings)
    assert row.peak_bytes["ours"] < row.peak_bytes["weights frozen"]
    assert 0 < row.max_difference < 1e-5


def test_training_step(clips):
    (row,) = run(train_step, clips["vit"], "--classes", "6", "--batch-size", "2")
    assert set(row.timings) == {"all weights in autograd", "weights frozen", "ours"}
    assert row.max_difference < 1e-5


def test_prediction_is_the_bare_towers_and_the_ensemble_the_loops(clips):
    options = ("--classes", "6", "--batch-size", "2")
    one_view, five_views = run(prediction, clips["vit"], *options)
    assert one_view.max_difference == 0
    assert five_views.max_difference < 1e-5
    assert set(one_view.timings) == {"bare image tower", "usual way", "ours"}


def test_many_classes(tiny_clip):
    options = ("--classes", "10", "100", "--chunk-size", "8", "--batch-size", "2")
    few, many, *_ = run(many_classes, tiny_clip, *options, "--max-count", "20")
    assert "C = 10" in many.figure and "C = 10" not in few.figure
    assert many.peak_bytes["step"] > few.peak_bytes["step"]


def test_many_classes_are_measured_with_the_statistics_of_a_due_iteration(
    tiny_clip, monkeypatch
):
    memory = []

    def hungry(embeddings):
        memory.append(torch.zeros(5_000_000).sum())  # 20 MB
        yield "class_cosine_mean", 0.1

    monkeypatch.setattr(statistics_hook, "_cosine_statistics", hungry)
    options = ("--classes", "10", "--batch-size", "2", "--max-count", "20")
    row, _ = run(many_classes, tiny_clip, *options)
    assert set(row.timings) == {"step", "statistics"}
    assert row.peak_bytes["step with statistics"] > row.peak_bytes["step"] + 10**7
    assert len(memory) == 2  # for memory and for the one round
    hub = MessageHub.get_instance("many-classes").log_scalars
    assert float(hub["train/grad_norm_prompt"].data[0][-1]) > 0


def test_starts_of_class_aware_epochs_are_of_the_classes_asked_for(tiny_clip):
    options = ("--classes", "10", "100", "--batch-size", "2", "--max-count", "20")
    *_, few, many = run(many_classes, tiny_clip, *options)
    # A quarter of the classes times the most frequent one's 20 images.
    assert few.figure == "50 images drawn"
    assert many.figure.startswith("500 images drawn; ")
    assert set(many.timings) == {"start of an epoch"}
    assert f"{sum(pareto_counts(100, 20)):,} images" in many.note


def test_metric_is_scikit_learns(tiny_clip):
    options = ("--images", "500", "--classes", "20", "--sklearn-classes", "10")
    precision, loss = run(metric, tiny_clip, *options)
    assert precision.max_difference < 1e-12
    assert set(precision.timings) == {"scikit-learn", "ours", "ours, all"}
    assert set(loss.timings) == {"C = 2", "C = 20"}


def test_gpu_use_says_when_there_is_no_gpu(tiny_clip):
    (row,) = run(gpu_use, tiny_clip)
    assert row.note == "no CUDA device"
    assert row.met is None


def test_usual_way_is_open_clips_encoding_of_77_tokens(tiny_clip):
    encoder = FullLengthTextEncoder(tiny_clip)
    clip = open_clip.create_model(tiny_clip).eval()
    texts = ["a dog.", "a photo of a dining table."]
    lengths = []
    encoder.ln_final.register_forward_hook(lambda _, x, y: lengths.append(y.shape[1]))
    with torch.no_grad():
        expected = clip.encode_text(open_clip.get_tokenizer(tiny_clip)(texts))
    torch.testing.assert_close(encoder.encode_text(texts), expected)
    assert lengths == [77]


def test_usual_way_trains_open_clips_own_layers(clips):
    backbone = CLIPBackbone(clips["vit"])
    bare = open_clip.create_model(clips["vit"]).visual
    restore_layers(backbone)
    types = [type(layer) for layer in backbone.visual.modules()]
    assert types == [type(layer) for layer in bare.modules()]


def test_usual_way_computes_gradients_of_all_weights_and_leaves_none(tiny_clip):
    encoder = FullLengthTextEncoder(tiny_clip)
    embeddings = torch.randn(2, 5, 32, requires_grad=True)
    with everything_in_autograd(encoder):
        encoder(embeddings, torch.tensor([4, 3])).sum().backward()
        assert encoder.transformer.resblocks[0].mlp.c_fc.weight.grad.abs().max() > 0
    assert not any(p.requires_grad or p.grad is not None for p in encoder.parameters())


def test_names_are_as_many_as_asked_and_different():
    names = class_names(1000)
    assert len(set(names)) == 1000
    assert names[:80] == class_names(80)
    assert names[0] == "person" and names[80] == "person 1"


def test_tool_prints_the_table_and_writes_the_rows(
    tiny_clip, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "rows.json"
    command = ["text-branch", "--clip", tiny_clip, "--classes", "3"]
    options = ["--rounds", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [str(TOOL), *command, *options])
    runpy.run_path(str(TOOL), run_name="__main__")
    assert "C = 3" in capsys.readouterr().out
    assert len(json.loads(out.read_text())["rows"]) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_tool_says_that_there_is_no_cuda_device(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(TOOL), "metric", "--device", "cuda"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(TOOL), run_name="__main__")
    assert "there is no CUDA device here" in capsys.readouterr().err
