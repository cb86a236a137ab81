"""The annotation files, ``<name>_<split>.json``.

The format is MMPretrain's, of which its ``MultiLabelDataset`` reads the two keys and
:class:`~capnet_mm.datasets.ImageListDataset` also the names::

    {"metainfo": {
        "classes": ["aeroplane", …],       a label is a position in this list
        "prompt_names": ["airplane", …],   the classes in the words of prompts
        "class_counts": [6, …],            training images of each class, in the files
        "num_images": 1142,                of all splits, and of all classes
        "split": "train",
        "provenance": {"tool": …, "version": …, "options": …, "sources": [
            {"path": …, "sha256": …}, …]}},
     "data_list": [
        {"img_path": "VOCdevkit/…/2008_000023.jpg", "gt_label": [4, 14, 19]},
        …]}

``img_path`` starts from the data root; ``gt_label`` is sorted, without repeats, and
empty for an image without labels; ``gt_unknown`` is there if it is not known whether
the image shows these classes. There is one image a line. A source with ``files`` is a
folder of so many files: its hash is the one of their lines ``name NUL hash``. The same
input gives the same bytes.
"""

import json
from pathlib import Path

from capnet_mm import __version__
from capnet_mm.fileio import replace_files

from .labelled_set import LabelledImage, LabelledSet


def write_set(
    labelled_set: LabelledSet, out_dir: str | Path, force: bool = False
) -> list[Path]:
    """Write one annotation file for each split; returns their paths.

    What can be read under the name of a file is whole, also if writing fails. The
    folder is made if it is not there. Without ``force``, ``FileExistsError`` if a file
    of a name is there with other content.
    """
    if not force:
        check_not_there(labelled_set, out_dir)
    Path(out_dir).expanduser().mkdir(parents=True, exist_ok=True)
    contents = _contents(labelled_set, out_dir)
    replace_files(contents)
    return list(contents)


def check_not_there(labelled_set: LabelledSet, out_dir: str | Path) -> None:
    """Raise ``FileExistsError`` if :func:`write_set` would, before the long checks."""
    for path, content in _contents(labelled_set, out_dir).items():
        if path.exists() and path.read_bytes() != content:
            raise FileExistsError(
                f"{path} is there already, with other content: remove it, choose "
                "another --out-dir, or replace it with --force."
            )


def write_report(path: str | Path, text: str) -> None:
    """Write a report whole, in place of an earlier one."""
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_files({path: text.encode()})


def _contents(labelled_set: LabelledSet, out_dir: str | Path) -> dict[Path, bytes]:
    provenance = {
        "tool": "capnet_mm",
        "version": __version__,
        "options": labelled_set.options,
        "sources": labelled_set.sources,
    }
    contents = {}
    for split, images in labelled_set.splits.items():
        metainfo = {
            "classes": labelled_set.classes,
            "prompt_names": labelled_set.prompt_names,
            "class_counts": labelled_set.class_counts("train"),
            "num_images": len(labelled_set.splits["train"]),
            "split": split,
            "provenance": provenance,
        }
        head = json.dumps(metainfo, ensure_ascii=False)
        body = ",\n".join(map(_entry, images))
        text = f'{{"metainfo": {head},\n"data_list": [\n{body}\n]}}\n'
        path = Path(out_dir).expanduser() / f"{labelled_set.name}_{split}.json"
        contents[path] = text.encode()
    return contents


def _entry(image: LabelledImage) -> str:
    entry = {"img_path": image.path, "gt_label": image.labels}
    if image.unknown:
        entry["gt_unknown"] = image.unknown
    return json.dumps(entry, ensure_ascii=False)
