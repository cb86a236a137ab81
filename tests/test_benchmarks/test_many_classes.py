import torch
from mmengine.logging import MessageHub

from benchmarks import many_classes
from capnet_mm.datasets import pareto_counts
from capnet_mm.engine.hooks import statistics_hook

from .conftest import run


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
