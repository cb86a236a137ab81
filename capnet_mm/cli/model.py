"""From command line arguments to a model that can be asked."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capnet_mm.apis import MultiLabelInferencer

ZERO_SHOT = "zero-shot"


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which model is asked, for which classes.

    Args:
        parser (ArgumentParser): Changed in place; the checkpoint, a positional
            argument, comes first.
    """
    add = parser.add_argument
    add(
        "checkpoint",
        help="file or web address of a trained model; it alone is enough. "
        f"'{ZERO_SHOT}': the CLIP of --clip without training, asked for --classes",
    )
    add("--config", help="config file, in place of the one inside the checkpoint")
    add(
        "--clip",
        metavar="MODEL",
        help="the CLIP on this machine, an architecture of open_clip or "
        "local-dir:PATH; the default is where it was in training",
    )
    add("--pretrained", metavar="TAG", help="tag or file of the CLIP's weights")
    add(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="names to ask for, in place of those of training",
    )
    add("--device", help="e.g. cpu or cuda:1; default: an accelerator, if any")
    add(
        "--trust-config",
        action="store_true",
        help="let the config inside the checkpoint import modules and name any "
        "object: only for files from somebody you trust",
    )


def build_inferencer(args: argparse.Namespace) -> MultiLabelInferencer:
    """Build the model that the flags of :func:`add_model_arguments` ask for.

    Args:
        args (Namespace): Arguments of a parser with these flags.

    Returns:
        MultiLabelInferencer: Ready to be asked.

    Raises:
        FileNotFoundError: Checkpoint, config or CLIP is not there.
        ValueError: They don't fit each other, or the checkpoint is refused.
    """
    # Imported late: training and testing need none of it.
    from capnet_mm.apis import MultiLabelInferencer

    options = dict(device=args.device, classes=args.classes)
    clip = args.clip
    if args.checkpoint == ZERO_SHOT:
        return MultiLabelInferencer(clip=clip, pretrained=args.pretrained, **options)
    if args.config is None:
        options |= dict(trust_config=args.trust_config, pretrained=args.pretrained)
        return MultiLabelInferencer(args.checkpoint, clip=clip, **options)
    if clip is not None and args.pretrained is not None:
        clip = dict(model=clip, pretrained=args.pretrained)
    return MultiLabelInferencer(args.config, args.checkpoint, clip=clip, **options)
