#!/usr/bin/env python
"""Export a trained model: ``python tools/export.py CHECKPOINT --pictures FOLDER``."""

import argparse
import importlib.util
import shlex
import sys
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from capnet_mm import cli  # noqa: E402
from capnet_mm.apis.pictures import list_pictures  # noqa: E402

FORMATS = ("onnx", "torch_export")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Write a trained model into one file that needs neither this "
        "package nor the data, and check on pictures that it gives the same"
    )
    cli.add_model_arguments(parser)
    add = parser.add_argument
    add(
        "--pictures",
        nargs="+",
        required=True,
        metavar="PICTURE",
        help="files, folders or patterns; the file is checked on the first of them",
    )
    add("--format", choices=FORMATS, default="onnx", help="default: %(default)s")
    add("--out", metavar="DIR", default="export", help="default: %(default)s")
    add(
        "--normalize",
        action="store_true",
        help="the file takes RGB images in 0…255 and normalises them inside",
    )
    add(
        "--maps",
        action="store_true",
        help="a third output: where a head with local pooling sees each class",
    )
    add("--int8", action="store_true", help="also write end2end_int8.onnx")
    args = parser.parse_intermixed_args()
    if args.int8 and args.format != "onnx":
        parser.error("--int8 needs --format onnx")
    return args


def export(args: argparse.Namespace) -> dict[str, dict]:
    """Write the files; what was found when they were checked."""
    inferencer = cli.build_inferencer(args)
    if args.format == "onnx":
        try:
            from capnet_mm.apis.onnx import export_onnx
        except ModuleNotFoundError as error:
            raise ValueError(
                f'--format onnx needs {error.name}: pip install -e ".[export]"'
            ) from error
        return export_onnx(
            *(inferencer, args.pictures, args.out, args.normalize, args.int8, args.maps)
        )
    from capnet_mm.apis.torch_export import export_program

    return export_program(
        inferencer, args.pictures, args.out, args.normalize, args.maps
    )


def main() -> None:
    """Export."""
    args = parse_args()
    cli.prepare_console("warnings")
    try:
        reports = export(args)
    except (ValueError, FileNotFoundError) as error:
        cli.stop(error)
    for found in reports.values():
        megabytes = Path(found["path"]).stat().st_size / 1e6
        print(
            f"{found['path']}  {megabytes:.1f} MB; on {found['pictures']} pictures "
            f"logits differ from PyTorch's by up to {found['max_difference']:.1e}, "
            f"{found['same_topk']:.0%} have the same five best classes"
        )
    path = next(iter(reports.values()))["path"]
    picture = list_pictures(args.pictures)[0]
    print("Use it:")
    if args.format == "onnx":
        example = Path(__file__).with_name("onnx_example.py")
        print(shlex.join(["python", str(example), path, picture]))
    else:
        print(f"probabilities, logits = torch.export.load({path!r}).module()(images)")


if __name__ == "__main__":
    main()
