#!/usr/bin/env python
"""Draw a long-tailed list: ``python tools/make_long_tail.py LIST NEW_LIST``."""

import argparse
import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("capnet_mm") is None:  # not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from capnet_mm.datasets import LongTailDraw, draw_long_tail  # noqa: E402
from capnet_mm.datasets.class_names import (  # noqa: E402
    check_class_names,
    read_class_names,
)
from capnet_mm.datasets.list_files import (  # noqa: E402
    is_json,
    read_image_list,
    read_json_classes,
    write_image_list,
)
from capnet_mm.evaluation.frequency_groups import (  # noqa: E402
    frequency_groups,
    group_of,
)
from capnet_mm.tables import Table  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Draw a long-tailed training list from a larger one, as VOC-LT "
        "and COCO-LT were drawn (see capnet_mm.datasets.draw_long_tail)"
    )
    parser.add_argument("list", help="image list, text or .json")
    parser.add_argument("output", help="new list, in the format of the old one")
    parser.add_argument(
        "--classes",
        metavar="FILE",
        help="file of class names; default: metainfo of a .json list, else "
        "classes.txt beside the list",
    )
    parser.add_argument(
        "--force", action="store_true", help="overwrite the new list if it is there"
    )
    add_draw(parser)
    return parser.parse_args()


def add_draw(parser: argparse.ArgumentParser) -> None:
    """Add the options of the draw."""
    parser.add_argument(
        "--max-count",
        type=int,
        help="images that the largest class aims at (VOC-LT 800, COCO-LT 1200); "
        "default: all that it has",
    )
    parser.add_argument(
        "--min-count",
        type=int,
        default=1,
        help="what the aims tend to in the tail; default: %(default)s",
    )
    parser.add_argument(
        "--alpha",
        type=float,
        default=6.0,
        help="shape of the Pareto distribution, larger is steeper; default: "
        "%(default)s",
    )
    parser.add_argument(
        "--quantile",
        type=float,
        default=0.99,
        help="where in the distribution the last class stands; default: %(default)s",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")


def main() -> None:
    """Draw, write, and say what came out."""
    args = parse_args()
    check_output(args)
    names, metainfo = read_names(args)
    images = read_image_list(args.list, len(names))
    draw = draw_long_tail(
        [image["gt_label"] for image in images],
        len(names),
        max_count=args.max_count,
        min_count=args.min_count,
        alpha=args.alpha,
        quantile=args.quantile,
        seed=args.seed,
    )
    write_image_list(args.output, [images[index] for index in draw.indices], metainfo)
    print(report(draw, names))
    print(f"{len(draw.indices)} of {len(images)} images are in {args.output}")


def check_output(args: argparse.Namespace) -> None:
    """Refuse to overwrite, before anything is read."""
    if is_json(args.list) != is_json(args.output):
        raise ValueError(
            f"{args.list} and {args.output} must both be .json lists or both be text."
        )
    output = Path(args.output)
    if not output.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {output.parent}: make it first.")
    if output.exists() and Path(args.list).exists() and output.samefile(args.list):
        raise ValueError(
            f"{args.output} is the list to draw from: give another name to the new one."
        )
    if output.exists() and not args.force:
        raise FileExistsError(
            f"{args.output} is there already: give another name, or --force to "
            "overwrite it."
        )


def read_names(args: argparse.Namespace) -> tuple[tuple[str, ...], dict]:
    """Class names, and the metainfo that a new .json list gets."""
    if is_json(args.list) and args.classes is None:
        classes, prompt_names = read_json_classes(args.list)
        names = check_class_names(classes, args.list)
    else:
        file = args.classes or Path(args.list).with_name("classes.txt")
        names, prompt_names = read_class_names(file)
    metainfo = {"classes": list(names)}
    if prompt_names is not None:
        metainfo["prompt_names"] = list(prompt_names)
    return names, metainfo


def report(draw: LongTailDraw, names: tuple[str, ...]) -> str:
    """Compose a table of the classes in the order in which they were drawn."""
    groups = frequency_groups(draw.counts)
    group = group_of(groups)
    rows = [
        (
            names[label],
            str(draw.available[label]),
            str(draw.targets[label]),
            str(draw.counts[label]),
            group[label]
            + (" (fewer available than aimed at)" if label in draw.short else ""),
        )
        for label in draw.order
    ]
    sizes = ", ".join(f"{len(labels)} {name}" for name, labels in groups.items())
    summary = (
        f"{sum(draw.counts)} labels; {min(draw.counts)} to {max(draw.counts)} images a "
        f"class; classes: {sizes}"
    )
    header = ("class", "available", "aim", "drawn", "group")
    return Table(header, rows, summary, align="lrrrl").to_text()


if __name__ == "__main__":
    main()
