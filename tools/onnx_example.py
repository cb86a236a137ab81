"""An exported model with ONNX Runtime, numpy and Pillow: names in pictures, or mAP."""

import argparse
import json
import os

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model")
parser.add_argument("pictures", nargs="+", help="pictures; with --root one list")
parser.add_argument("--root", default="", help="folder of a list's pictures: mAP too")
parse_args = parser.parse_args


def prepare(path, pipeline, color, mean, std, **_):
    """Make an image, (3, H, W), as the metadata say."""
    image = Image.open(path)
    image.draft(None, (pipeline[0].get("min_edge") or max(image.size),) * 2)
    image = ImageOps.exif_transpose(image).convert("RGB")
    for step in pipeline:
        if step["type"] in ("FastResizeEdge", "ResizeEdge"):
            size = [step["scale"] * edge // min(image.size) for edge in image.size]
            image = image.resize(size, Image.Resampling.BICUBIC)
        elif step["type"] == "CenterCrop":
            crop = step["crop_size"]
            left, top = (round((edge - crop) / 2) for edge in image.size)
            image = image.crop((left, top, left + crop, top + crop))
    pixels = np.asarray(image, np.float32)[..., :: 1 if color == "RGB" else -1]
    return ((pixels - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1)


def average_precision(scores, targets):
    """Sum precision over recall; targets are 1, 0 or unknown, -1."""
    scores, targets = scores[targets >= 0], targets[targets >= 0]
    order = np.argsort(-scores)
    ends = np.flatnonzero(np.append(np.diff(scores[order]), 1))  # equal: one step
    hits = np.cumsum(targets[order])[ends]
    return (hits / (ends + 1) * np.diff(hits, prepend=0)).sum() / hits[-1]


if __name__ == "__main__":
    args, logits, targets = parse_args(), [], []
    session = onnxruntime.InferenceSession(args.model)
    stored = session.get_modelmeta().custom_metadata_map
    meta = {key: json.loads(stored[key]) for key in stored}
    for line in open(args.pictures[0]) if args.root else args.pictures:
        path, *labels = line.split() if args.root else [line]
        image = prepare(os.path.join(args.root, path), **meta["preprocessing"])
        output, scores = (row[0] for row in session.run(None, {"input": image[None]}))
        logits, targets = [*logits, scores], [*targets, np.zeros(len(scores))]
        for label in labels:
            targets[-1][int(label.lstrip("?"))] = -1 if "?" in label else 1
        names = zip(output, meta["thresholds"], meta["classes"], strict=True)
        print(path, *(f"{n} {p:.2f}" for p, t, n in sorted(names)[::-1] if p >= t))
    columns = list(zip(np.array(logits).T, np.array(targets).T, strict=True))
    found = [average_precision(*each) for each in columns if 1 in each[1]]
    print(f"mAP {100 * np.mean(found):.2f}" if args.root else "")
