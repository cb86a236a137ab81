#!/usr/bin/env python
"""From a raw download to a checked data set: ``python tools/prepare_data.py KIND DIR``.

Writes ``<name>_train.json`` and ``<name>_test.json`` (or ``_val``), which the data set
classes read, and ``<name>.report.txt``. The format: ``capnet_mm/preparation``.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from capnet_mm import preparation  # noqa: E402

SHOWN_LINES = 10


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("data_root", help="folder that the download was unpacked in")
    common.add_argument("--out-dir", help="where to write; default: the data root")
    common.add_argument(
        "--force", action="store_true", help="replace other files of the same names"
    )
    common.add_argument(
        "--images",
        choices=("check", "open", "ignore"),
        default="check",
        help="look that images are there (default), decode each as well, or neither",
    )
    common.add_argument(
        "--verify-images",
        dest="images",
        action="store_const",
        const="open",
        help="the same as --images open",
    )
    common.add_argument(
        "--unusable",
        choices=("error", "drop", "keep"),
        default="error",
        help="what to do with images that are missing or do not open: stop (default), "
        "leave them out, or list them all the same",
    )
    common.add_argument(
        "--drop-unlabelled",
        action="store_true",
        help="leave out images without any label; default: they are negatives",
    )

    lists = argparse.ArgumentParser(add_help=False)
    lists.add_argument("--train-list", help="list of the training images")
    lists.add_argument("--test-list", help="list of the test images")
    labels = argparse.ArgumentParser(add_help=False)
    labels.add_argument(
        "--labels",
        choices=("list", "annotations"),
        default="list",
        help="whose labels count where both are there; both are compared always",
    )

    voc = kinds.add_parser(
        "voc-lt", parents=[common, lists, labels], help="VOCdevkit and a list"
    )
    voc.add_argument(
        "--difficult",
        choices=("positive", "negative", "unknown"),
        default="positive",
        help="what a class is of which an image has difficult objects only; default: "
        "positive, as in VOC-LT",
    )
    coco = kinds.add_parser(
        "coco-lt", parents=[common, lists, labels], help="COCO 2017 and a list"
    )
    coco.add_argument("--train-annotations", help="instances_train2017.json")
    coco.add_argument("--test-annotations", help="instances_val2017.json")

    nus_wide = kinds.add_parser(
        "nus-wide", parents=[common, lists], help="NUS-WIDE as published, or two lists"
    )
    nus_wide.add_argument(
        "--image-dir", default="Flickr", help="folder of the images; default: Flickr"
    )

    nus_wide.add_argument(
        "--table", help="ML-Decoder's nus_wid_data.csv, in place of two lists"
    )

    custom = kinds.add_parser(
        "custom", parents=[common], help="CSV, JSON lines or a folder of .txt files"
    )
    custom.add_argument("--train", required=True, help=".csv, .tsv, .jsonl or folder")
    custom.add_argument("--val", help="the same for validation")
    custom.add_argument(
        "--val-fraction",
        type=float,
        help="draw this part of --train for validation, evenly over the classes",
    )
    custom.add_argument("--seed", type=int, default=0, help="of the drawing")
    custom.add_argument("--classes", help="file with one class name a line")
    custom.add_argument("--image-dir", default="", help="folder of the images")
    custom.add_argument("--path-column", help="column or key of the image paths")
    custom.add_argument("--labels-column", help="column or key of the class names")
    custom.add_argument(
        "--separator", default=";", help="between class names in a column; default: ;"
    )
    custom.add_argument("--split-column", help="column that says train, val or test")
    custom.add_argument("--name", default="custom", help="of the files to write")
    return parser.parse_args()


def read(args: argparse.Namespace) -> preparation.LabelledSet:
    """Read the raw data of the kind that was asked for."""
    readers = {
        "voc-lt": preparation.read_voc_lt,
        "coco-lt": preparation.read_coco_lt,
        "nus-wide": preparation.read_nus_wide,
        "custom": preparation.read_own_data,
    }
    other = ("kind", "out_dir", "force", "images", "unusable", "drop_unlabelled")
    options = {key: value for key, value in vars(args).items() if key not in other}
    return readers[args.kind](**options)


def main() -> None:
    """Read, check, report, write."""
    args = parse_args()
    out_dir = Path(args.out_dir or args.data_root).expanduser()
    labelled_set = read(args)
    if args.drop_unlabelled:
        preparation.drop_unlabelled(labelled_set)
    if args.unusable != "drop":  # else what will be written is not known yet
        preparation.check_not_there(labelled_set, out_dir, args.force)

    report = preparation.check_set(
        labelled_set,
        args.data_root,
        check_images=args.images != "ignore",
        open_images=args.images == "open",
    )
    unusable = sum(map(len, report.unusable.values()))
    if args.unusable == "drop" and unusable:
        report = preparation.drop_unusable(report)
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
