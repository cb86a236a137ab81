#!/usr/bin/env python
"""Pre-train the small CLIP of the demo: ``python tools/pretrain_demo_clip.py``.

The demo (``configs/demo``) needs a CLIP that is there without a download. This one
learns from captioned images of :mod:`capnet_mm.datasets.shapes`, with open_clip's
model and loss. Its images are drawn anew, none is a training or test image of
ShapesLT, and a quarter of the kinds of objects, among them the rarer half of the
classes, are in none of its images or captions: it knows all the words but not all
combinations.
"""

import argparse
import functools
import importlib.util
import json
import math
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from capnet_mm.datasets.shapes import (  # noqa: E402
    CLASS_KINDS,
    KINDS,
    NOT_PRETRAINED,
    Kind,
    draw_scene,
)

import open_clip  # noqa: E402  isort: skip (capnet_mm makes torchvision importable)

# A ViT of 6 layers and a text tower of 3: 1.6 million parameters beside the tokens.
MODEL = dict(
    embed_dim=96,
    vision_cfg=dict(image_size=96, patch_size=16, width=128, head_width=32, layers=6),
    text_cfg=dict(context_length=32, vocab_size=49408, width=96, heads=3, layers=3),
)
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
TEMPLATES = ("a photo of {}.", "a picture of {}.", "{}.", "there is {}.", "{} here")
CHUNK = 500  # images that one task draws


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="configs/demo/clip", help="folder to write")
    parser.add_argument("--images", type=int, default=40000, help="how many to draw")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument(
        "--work-dir",
        default="work_dirs/pretrain_demo_clip",
        help="folder for the state after each epoch, from which the same command goes "
        "on",
    )
    return parser.parse_args()


def seen_kinds() -> list[Kind]:
    """Kinds that pre-training may show: three quarters of all.

    Left out are the rarer half of ShapesLT's classes, and others by chance.
    """
    held_out = set(NOT_PRETRAINED)
    others = [kind for kind in KINDS if kind not in CLASS_KINDS]
    chosen = np.random.default_rng(1).permutation(len(others))
    held_out |= {others[i] for i in chosen[: len(KINDS) // 4 - len(held_out)]}
    return [kind for kind in KINDS if kind not in held_out]


def draw_chunk(seed: int, index: int) -> tuple[np.ndarray, list[list[Kind]]]:
    """Draw some images.

    Args:
        seed: Seed of the whole pre-training.
        index: Number of the chunk.

    Returns:
        Images, (CHUNK, 96, 96, 3), uint8; and the kinds of objects in each.
    """
    rng = np.random.default_rng([seed, index])
    kinds = seen_kinds()
    scenes = [
        [kinds[i] for i in rng.choice(len(kinds), rng.integers(1, 5), replace=False)]
        for _ in range(CHUNK)
    ]
    size = MODEL["vision_cfg"]["image_size"]
    return np.stack([draw_scene(scene, rng, size) for scene in scenes]), scenes


def draw_images(args: argparse.Namespace) -> tuple[torch.Tensor, list[list[Kind]]]:
    """Draw all images, (N, 3, 96, 96) of uint8, and say what each shows."""
    chunks = range(math.ceil(args.images / CHUNK))
    with ProcessPoolExecutor(args.workers) as pool:
        drawn = list(pool.map(draw_chunk, [args.seed] * len(chunks), chunks))
    images = np.concatenate([images for images, _ in drawn])
    scenes = [scene for _, scenes in drawn for scene in scenes]
    return torch.from_numpy(images).permute(0, 3, 1, 2), scenes


def caption(scene: list[Kind], rng: np.random.Generator) -> str:
    """Say what is to be seen, or a part of it, as people do."""
    order = rng.permutation(len(scene))[: rng.integers(1, len(scene) + 1)]
    phrases = []
    for index in order:
        texture, color, shape = scene[index]
        words = [shape]
        if rng.random() < 0.85:
            words.insert(0, color)
        if rng.random() < 0.85:
            words.insert(0, texture)
        phrases.append(f"a {' '.join(words)}")
    return str(rng.choice(TEMPLATES)).format(" and ".join(phrases))


def train(args: argparse.Namespace) -> open_clip.CLIP:
    """Pre-train with the contrastive loss; goes on where an earlier call stopped."""
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_model().to(device)
    print("drawing images …", flush=True)
    images, scenes = draw_images(args)
    steps = len(images) // args.batch_size
    optimizer, schedule = build_optimizer(model, args.lr, args.epochs * steps)
    state_file = Path(args.work_dir, "state.pth")
    parts = dict(model=model, optimizer=optimizer, schedule=schedule)
    first = 0
    if state_file.is_file():
        state = torch.load(state_file, map_location=device, weights_only=True)
        first = state["epoch"]
        for name, part in parts.items():
            part.load_state_dict(state[name])
        print(f"going on after epoch {first}, as {state_file} says", flush=True)

    for epoch in range(first, args.epochs):
        rng = np.random.default_rng([args.seed, 1, epoch])
        order = torch.from_numpy(rng.permutation(len(images)))
        progress = Progress(epoch, args.epochs, steps)
        for step in range(steps):
            chosen = order[step * args.batch_size : (step + 1) * args.batch_size]
            batch = images[chosen].to(device).float() / 255
            if rng.random() < 0.5:  # no word says left or right
                batch = batch.flip(-1)
            captions = [caption(scenes[i], rng) for i in chosen.tolist()]
            progress.add(train_step(model, optimizer, batch, captions))
            schedule.step()
        state_file.parent.mkdir(parents=True, exist_ok=True)
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save(dict(state, epoch=epoch + 1), state_file.with_suffix(".tmp"))
        state_file.with_suffix(".tmp").replace(state_file)
    return model


def build_model() -> open_clip.CLIP:
    """The CLIP of ``MODEL``, with a token table of those that captions use alone.

    The rows stay in order, so that [EOS] is still the greatest, by which open_clip
    finds it.
    """
    text_config = dict(MODEL["text_cfg"], vocab_size=len(used_tokens()))
    return open_clip.CLIP(**dict(MODEL, text_cfg=text_config))


def build_optimizer(
    model: open_clip.CLIP, lr: float, total_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW, which decays matrices only, and its schedule of one cycle."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [dict(params=decayed, weight_decay=0.05), dict(params=others, weight_decay=0)],
        lr=lr,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=total_steps, pct_start=0.08
    )
    return optimizer, schedule


def train_step(
    model: open_clip.CLIP,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    captions: list[str],
) -> float:
    """Make a step on images, (B, 3, 96, 96) in 0 to 1, and captions; its loss."""
    device = images.device
    mean = torch.tensor(MEAN, device=device)[:, None, None]
    std = torch.tensor(STD, device=device)[:, None, None]
    with torch.autocast(device.type, torch.bfloat16):
        output = model((images - mean) / std, tokenize(captions).to(device))
    loss = open_clip.ClipLoss()(output[0].float(), output[1].float(), output[2])
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    model.logit_scale.data.clamp_(0, math.log(100))
    return loss.item()


class Progress:
    """Progress of one epoch, printed every 20 steps.

    Args:
        epoch: Number of the epoch, from 0.
        epochs: Number of epochs.
        steps: Number of steps of an epoch.
    """

    def __init__(self, epoch: int, epochs: int, steps: int) -> None:
        self.epoch, self.epochs, self.steps = epoch, epochs, steps
        self.losses: list[float] = []
        self.start = time.perf_counter()

    def add(self, loss: float) -> None:
        """Note the loss of a step."""
        self.losses.append(loss)
        done = len(self.losses)
        if done % 20:
            return
        seconds = (time.perf_counter() - self.start) / done
        left = (self.epochs - self.epoch) * self.steps - done
        print(
            f"epoch {self.epoch + 1}/{self.epochs} step {done}/{self.steps} "
            f"loss {np.mean(self.losses[-20:]):.3f} "
            f"{seconds:.2f} s/step, {left * seconds / 60:.0f} min left",
            flush=True,
        )


def save(model: open_clip.CLIP, folder: Path) -> None:
    """Write a folder in open_clip's format, in half precision.

    The token table has only the rows that captions use, which
    :func:`capnet_mm.models.towers.loading.load_clip` understands.
    """
    state = {k: v.detach().cpu().half() for k, v in model.state_dict().items()}
    state["token_embedding.rows"] = used_tokens()
    folder.mkdir(parents=True, exist_ok=True)
    config = dict(model_cfg=MODEL, preprocess_cfg=dict(mean=MEAN, std=STD))
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()},
        folder / "open_clip_model.safetensors",
    )


@functools.cache
def used_tokens() -> torch.Tensor:
    """Sorted ids of the tokens that captions have, [SOS], [EOS] and padding too."""
    phrases = [f"a {kind.name} and a {kind.name}" for kind in KINDS]
    texts = [t.format(phrase) for t in TEMPLATES for phrase in phrases]
    return open_clip.tokenize(texts).unique()


def tokenize(captions: list[str]) -> torch.Tensor:
    """Rows of the token table, (B, 32), of captions."""
    length = MODEL["text_cfg"]["context_length"]
    return torch.searchsorted(used_tokens(), open_clip.tokenize(captions, length))


def main() -> None:
    """Pre-train and save."""
    args = parse_args()
    save(train(args), Path(args.out))


if __name__ == "__main__":
    main()
