#!/usr/bin/env python
"""From a raw download to a checked data set: ``python tools/prepare_data.py KIND DIR``.

Writes ``<name>_train.json`` and ``<name>_test.json`` (or ``_val``), which the data set
classes read, and ``<name>.report.txt``. Formats: ``capnet_mm/preparation/writer.py``.
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
    voc = kinds.add_parser("voc-lt", help="VOCdevkit and a list")
    voc.set_defaults(reader=preparation.read_voc_lt)
    coco = kinds.add_parser("coco-lt", help="COCO 2017 and a list")
    coco.set_defaults(reader=preparation.read_coco_lt)
    nus_wide = kinds.add_parser("nus-wide", help="NUS-WIDE as published, or two lists")
    nus_wide.set_defaults(reader=preparation.read_nus_wide)
    custom = kinds.add_parser("custom", help="CSV, JSON lines or folder of .txt files")
    custom.set_defaults(reader=preparation.read_own_data)
    for kind in (voc, coco, nus_wide, custom):
        add_common(kind)
    for kind in (voc, coco, nus_wide):
        kind.add_argument("--train-list", help="list of the training images")
        kind.add_argument("--test-list", help="list of the test images")
    add_long_tailed(voc, coco)
    help_text = "folder of the images; default: Flickr"
    nus_wide.add_argument("--image-dir", default="Flickr", help=help_text)
    help_text = "ML-Decoder's nus_wid_data.csv, in place of two lists"
    nus_wide.add_argument("--table", help=help_text)
    add_custom(custom)
    return parser.parse_args()


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options of all kinds."""
    parser.add_argument("data_root", help="folder that the download was unpacked in")
    parser.add_argument("--out-dir", help="where to write; default: the data root")
    parser.add_argument(
        "--force", action="store_true", help="replace other files of the same names"
    )
    parser.add_argument(
        "--images",
        choices=("check", "open", "ignore"),
        default="check",
        help="look that images are there (default), decode each as well, or neither",
    )
    parser.add_argument(
        "--verify-images",
        dest="images",
        action="store_const",
        const="open",
        help="the same as --images open",
    )
    parser.add_argument(
        "--unusable",
        choices=("error", "drop", "keep"),
        default="error",
        help="what to do with images that are missing or do not open: stop (default), "
        "leave them out, or list them all the same",
    )
    parser.add_argument(
        "--drop-unlabelled",
        action="store_true",
        help="leave out images without any label; default: they are negatives",
    )


def add_long_tailed(
    voc: argparse.ArgumentParser, coco: argparse.ArgumentParser
) -> None:
    """The options of VOC-LT and COCO-LT."""
    for kind in (voc, coco):
        kind.add_argument(
            "--labels",
            choices=("list", "annotations"),
            default="list",
            help="whose labels count where both are there; both are compared always",
        )
    voc.add_argument(
        "--difficult",
        choices=("positive", "negative", "unknown"),
        default="positive",
        help="what a class is of which an image has difficult objects only; default: "
        "positive, as in VOC-LT",
    )
    coco.add_argument("--train-annotations", help="instances_train2017.json")
    coco.add_argument("--test-annotations", help="instances_val2017.json")


def add_custom(parser: argparse.ArgumentParser) -> None:
    """The options of one's own data."""
    parser.add_argument("--train", required=True, help=".csv, .tsv, .jsonl or folder")
    parser.add_argument("--val", help="the same for validation")
    parser.add_argument(
        "--val-fraction",
        type=float,
        help="draw this part of --train for validation, evenly over the classes",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the drawing")
    parser.add_argument("--classes", help="file with one class name a line")
    parser.add_argument("--image-dir", default="", help="folder of the images")
    parser.add_argument("--path-column", help="column or key of the image paths")
    parser.add_argument("--labels-column", help="column or key of the class names")
    parser.add_argument(
        "--separator", default=";", help="between class names in a column; default: ;"
    )
    parser.add_argument("--split-column", help="column that says train, val or test")
    parser.add_argument("--name", default="custom", help="of the files to write")


def main() -> None:
    """Read, check, report, write."""
    options = vars(parse_args())
    del options["kind"]
    reader, out_dir = options.pop("reader"), options.pop("out_dir")
    images, what_of_unusable = options.pop("images"), options.pop("unusable")
    force, labelled_only = options.pop("force"), options.pop("drop_unlabelled")
    labelled_set = reader(**options)
    out_dir = Path(out_dir or options["data_root"]).expanduser()
    if labelled_only:
        preparation.drop_unlabelled(labelled_set)
    if not force and what_of_unusable != "drop":  # then what to write is known
        preparation.check_not_there(labelled_set, out_dir)

    report = preparation.check_set(
        labelled_set,
        options["data_root"],
        check_images=images != "ignore",
        open_images=images == "open",
    )
    unusable = sum(map(len, report.unusable.values()))
    if what_of_unusable == "drop":
        preparation.drop_unusable(report)
    report_path = out_dir / f"{labelled_set.name}.report.txt"
    preparation.write_report(report_path, preparation.format_report(report))
    print(preparation.format_report(report, SHOWN_LINES))
    if what_of_unusable == "error" and unusable:
        raise FileNotFoundError(
            f"{unusable:,} images are missing or do not open; {report_path} lists them "
            "all, and nothing else was written. Complete them, or go on without them "
            "(--unusable drop) or with them (--unusable keep)."
        )
    for path in preparation.write_set(labelled_set, out_dir, force):
        print(f"written: {path}")
    print(f"written: {report_path}")


if __name__ == "__main__":
    main()
