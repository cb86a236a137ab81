#!/usr/bin/env python
"""From a raw download to a checked data set: ``python tools/prepare_data.py KIND DIR``.

Writes ``<name>_train.json`` and ``<name>_test.json`` (or ``_val``), which the data set
classes read, and ``<name>.report.txt``. Formats: ``capnet_mm/preparation/writer.py``.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from capnet_mm import preparation  # noqa: E402

SHOWN_LINES = 10


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    voc = kinds.add_parser("voc-lt", help="VOCdevkit and a list")
    voc.set_defaults(reader=preparation.read_voc_lt)
    coco = kinds.add_parser("coco-lt", help="COCO 2017 and a list")
    coco.set_defaults(reader=preparation.read_coco_lt)
    nus_wide = kinds.add_parser("nus-wide", help="NUS-WIDE as published, or two lists")
    nus_wide.set_defaults(reader=preparation.read_nus_wide)
    custom = kinds.add_parser(
        "custom", help="CSV, JSON lines or a folder of .txt files"
    )
    custom.set_defaults(reader=preparation.read_own_data)
    for kind in (voc, coco, nus_wide, custom):
        add_common(kind.add_argument)
    for kind in (voc, coco, nus_wide):
        kind.add_argument("--train-list", help="list of the training images")
        kind.add_argument("--test-list", help="list of the test images")
    add_long_tailed(voc.add_argument, coco.add_argument)
    add = nus_wide.add_argument
    add("--image-dir", default="Flickr", help="folder of the images; default: Flickr")
    add("--table", help="ML-Decoder's nus_wid_data.csv, in place of two lists")
    add_custom(custom.add_argument)
    return parser.parse_args()


def add_common(add: Callable) -> None:
    """Add the options of all kinds."""
    add("data_root", help="folder that the download was unpacked in")
    add("--out-dir", help="where to write; default: the data root")
    add("--force", action="store_true", help="replace other files of the same names")
    images = "look that images are there (default), decode each as well, or neither"
    add("--images", choices=("check", "open", "ignore"), default="check", help=images)
    same = {"dest": "images", "action": "store_const", "const": "open"}
    add("--verify-images", **same, help="short for --images open")
    add(
        "--unusable",
        choices=("error", "drop", "keep"),
        default="error",
        help="what to do with images that are missing or do not open: stop (default), "
        "leave them out, or list them all the same",
    )
    unlabelled = "leave out images without any label; default: they are negatives"
    add("--drop-unlabelled", dest="labelled", action="store_true", help=unlabelled)


def add_long_tailed(add_voc: Callable, add_coco: Callable) -> None:
    """Add the options of VOC-LT and COCO-LT."""
    for add in (add_voc, add_coco):
        add(
            "--labels",
            choices=("list", "annotations"),
            default="list",
            help="whose labels count where both are there; both are compared always",
        )
    add_voc(
        "--difficult",
        choices=("positive", "negative", "unknown"),
        default="positive",
        help="what a class is of which an image has difficult objects only; default: "
        "positive, as in VOC-LT",
    )
    add_coco("--train-annotations", help="instances_train2017.json")
    add_coco("--test-annotations", help="instances_val2017.json")


def add_custom(add: Callable) -> None:
    """Add the options of one's own data."""
    add("--train", required=True, help=".csv, .tsv, .jsonl or folder")
    add("--val", help="validation labels, in one of these forms")
    fraction = "draw this part of --train for validation, evenly over the classes"
    add("--val-fraction", type=float, help=fraction)
    add("--seed", type=int, default=0, help="seed of the drawing")
    add("--classes", help="file with one class name a line")
    add("--image-dir", default="", help="folder of the images")
    add("--path-column", help="column or key of the image paths")
    add("--labels-column", help="column or key of the class names")
    add("--separator", default=";", help="between class names in a column; default: ;")
    add("--split-column", help="column that says train, val or test")
    add("--name", default="custom", help="name that the written files begin with")


def read(args: argparse.Namespace) -> preparation.LabelledSet:
    """Read the raw data of the kind that was asked for."""
    other = ("kind", "reader", "out_dir", "force", "images", "unusable", "labelled")
    options = {key: value for key, value in vars(args).items() if key not in other}
    return args.reader(**options)


def main() -> None:
    """Read, check, report, write."""
    args = parse_args()
    out_dir = Path(args.out_dir or args.data_root).expanduser()
    labelled_set = read(args)
    if args.labelled:
        preparation.drop_unlabelled(labelled_set)
    if not args.force and args.unusable != "drop":  # then what to write is known
        preparation.check_not_there(labelled_set, out_dir)

    report = preparation.check_set(
        labelled_set,
        args.data_root,
        check_images=args.images != "ignore",
        open_images=args.images == "open",
    )
    unusable = sum(map(len, report.unusable.values()))
    if args.unusable == "drop":
        preparation.drop_unusable(report)
    report_path = out_dir / f"{labelled_set.name}.report.txt"
    preparation.write_report(report_path, preparation.format_report(report))
    print(preparation.format_report(report, SHOWN_LINES))
    if args.unusable == "error" and unusable:
        raise FileNotFoundError(
            f"{unusable:,} images are missing or do not open; {report_path} lists them "
            "all, and nothing else was written. Complete them, or go on without them "
            "(--unusable drop) or with them (--unusable keep)."
        )
    for path in preparation.write_set(labelled_set, out_dir, args.force):
        print(f"written: {path}")
    print(f"written: {report_path}")


if __name__ == "__main__":
    main()
