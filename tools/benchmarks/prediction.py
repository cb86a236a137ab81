"""Prediction beside CLIP's bare image tower, and test-time ensembling."""

import argparse

import torch
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from capnet_mm.models import CLIPBackbone, TestTimeEnsemble

from .baselines import FullLengthTextEncoder
from .cases import classifier, image_batch
from .measure import (
    Measurement,
    count_flops,
    device_name,
    interleave,
    max_difference,
    paired_ratio,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the sizes to measure."""
    parser.add_argument("--classes", type=int, default=80, help="C; default: 80")
    parser.add_argument("--batch-size", type=int, default=32, help="B; default: 32")


@torch.no_grad()
def run(args: argparse.Namespace) -> list[Measurement]:
    """Measure prediction of one view, with local pooling too, and of five views."""
    full_length = dict(text_encoder=dict(type=FullLengthTextEncoder))
    model = classifier(args.clip, args.classes)
    usual = classifier(args.clip, args.classes, head=full_length)
    bare, adapted = _towers(args)
    model.backbone = usual.backbone = adapted
    for module in (model, usual, bare):
        module.to(args.device).eval()
    images, samples = image_batch(model, args.batch_size, args.classes, args.device)
    return [
        _one_view(args, bare, model, usual, images, samples),
        _local_pooling(args, bare, images, samples),
        _five_views(args, model, images),
    ]


def _one_view(
    args: argparse.Namespace,
    bare: nn.Module,
    model: nn.Module,
    usual: nn.Module,
    images: Tensor,
    samples: list[DataSample],
) -> Measurement:

    def baselines() -> list[DataSample]:
        usual.head.eval()  # forgets the class embeddings
        return usual(images, samples, mode="predict")

    variants = {
        "bare image tower": lambda: bare(images),
        "usual way": baselines,
        "ours": lambda: model(images, samples, mode="predict"),
    }
    timings = interleave(variants, args.rounds, device=args.device)
    to_bare = paired_ratio(timings["ours"], timings["bare image tower"])
    to_usual = paired_ratio(timings["usual way"], timings["ours"])
    return Measurement(
        what=f"prediction, {args.clip}, C = {args.classes}, batch {args.batch_size}",
        device=device_name(args.device),
        timings=timings,
        figure=f"{to_bare.median:.3f} ± {to_bare.spread / 2:.3f} of the bare tower's "
        f"time; {to_usual.median:.2f}× faster than the usual way",
        target="≤ 1.03",
        met=to_bare.median <= 1.03,
        max_difference=max_difference(model.extract_feat(images), [bare(images)]),
        note="usual way: class features anew for every batch; the difference is that "
        "of the image features to the bare tower's",
    )


def _local_pooling(
    args: argparse.Namespace, bare: nn.Module, images: Tensor, samples: list[DataSample]
) -> Measurement:
    model = classifier(
        args.clip,
        args.classes,
        head=dict(pooling=dict()),
        backbone=dict(channels_last=True),
    )
    model.to(args.device).eval()
    images = images.contiguous(memory_format=torch.channels_last)  # for both
    variants = {
        "bare image tower": lambda: bare(images),
        "ours": lambda: model(images, samples, mode="predict"),
    }
    model(images, samples, mode="predict")  # keeps the class embeddings
    # Of PyTorch's own kernel for whole layers the operations cannot be counted.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    tower, ours = (count_flops(variant) for variant in variants.values())
    torch.backends.mha.set_fastpath_enabled(fused)
    timings = interleave(variants, args.rounds, device=args.device)
    ratio = paired_ratio(timings["ours"], timings["bare image tower"])
    return Measurement(
        what=f"prediction with local pooling, {args.clip}, C = {args.classes}, "
        f"batch {args.batch_size}",
        device=device_name(args.device),
        timings=timings,
        figure=f"{ratio.median:.3f} ± {ratio.spread / 2:.3f} of the bare tower's time; "
        f"{ours / tower:.3f} of its operations",
        target="≤ 1.053",
        met=ratio.median <= 1.053,
    )


def _five_views(
    args: argparse.Namespace, model: nn.Module, images: Tensor
) -> Measurement:
    batched = TestTimeEnsemble(model)
    looped = TestTimeEnsemble(model, max_batch_size=len(images))
    pixels = images.mul(60).add(120).clamp(0, 255).to(torch.uint8)
    views = [pixels.roll(shift, dims=-1) for shift in range(5)]

    def data(views: list[Tensor]) -> dict:
        samples = [[DataSample() for _ in view] for view in views]
        return dict(inputs=[list(view) for view in views], data_samples=samples)

    def one_view() -> list[DataSample]:
        inputs = data(views[:1])
        return model.test_step({key: value[0] for key, value in inputs.items()})

    variants = {
        "one view": one_view,
        "five views, one by one": lambda: looped.test_step(data(views)),
        "ours": lambda: batched.test_step(data(views)),
    }
    timings = interleave(variants, args.rounds, device=args.device)
    ratio = paired_ratio(timings["ours"], timings["one view"])
    logits = [
        torch.stack([sample.pred_logits for sample in variants[name]()])
        for name in ("ours", "five views, one by one")
    ]
    return Measurement(
        what=f"five-view ensemble, {args.clip}, {args.batch_size} images",
        device=device_name(args.device),
        timings=timings,
        figure=f"{ratio.median:.2f} ± {ratio.spread / 2:.2f} times one view",
        target="≤ 5.1",
        met=ratio.median <= 5.1,
        max_difference=max_difference(logits[:1], logits[1:]),
        note="the difference is that of the logits to those of views run one by one",
    )


def _towers(args: argparse.Namespace) -> tuple[nn.Module, CLIPBackbone]:
    """open_clip's image tower, and the same one with adapters."""
    torch.manual_seed(0)
    bare = CLIPBackbone(args.clip).visual
    torch.manual_seed(0)
    return bare, CLIPBackbone(args.clip, adapter="auto", num_classes=args.classes)
