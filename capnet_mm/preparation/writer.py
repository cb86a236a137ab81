"""The annotation files."""

import json
from pathlib import Path

from capnet_mm.datasets.list_files import replace_files

from .labelled_set import LabelledImage, LabelledSet


def output_paths(labelled_set: LabelledSet, out_dir: str | Path) -> dict[str, Path]:
    """Where :func:`write_set` writes each split: ``<name>_<split>.json``."""
    return {
        split: Path(out_dir).expanduser() / f"{labelled_set.name}_{split}.json"
        for split in labelled_set.splits
    }


def write_set(
    labelled_set: LabelledSet, out_dir: str | Path, force: bool = False
) -> list[Path]:
    """Write one annotation file for each split.

    The format is MMPretrain's, of which its ``MultiLabelDataset`` reads the two keys
    and :class:`~capnet_mm.datasets.ImageListDataset` also the names::

        {"metainfo": {
            "classes": ["aeroplane", …],       names of the C classes; a label is
                                               a position in this list
            "prompt_names": ["airplane", …],   the same in the words of prompts
            "class_counts": [6, …],            training images of each class, in the
            "num_images": 1142,                files of all splits, and of all classes
            "split": "train",
            "provenance": {
                "tool": "capnet_mm", "version": "0.1.0",
                "options": {…},                how the sources were read
                "sources": [{"path": …, "sha256": …}, …]}},
         "data_list": [
            {"img_path": "VOCdevkit/…/2008_000023.jpg", "gt_label": [4, 14, 19]},
            …]}

    ``img_path`` starts from the data root; ``gt_label`` is sorted, without repeats,
    and empty for an image without labels; an entry has ``gt_unknown`` as well if it
    is not known whether the image shows these classes. There is one image a line.
    A source with ``files`` is a folder of so many: its hash is that of the lines
    ``name NUL hash`` of these. The same input gives the same bytes.

    Each file is written under another name and renamed when it is complete, after
    all are: what can be read under its name is whole.

    Args:
        labelled_set (LabelledSet): What to write.
        out_dir (str | Path): Folder, made if it is not there.
        force (bool): Whether other files of these names are replaced. Defaults to
            False.

    Returns:
        list[Path]: The files.

    Raises:
        FileExistsError: A file of this name with other content is there.
    """
    contents = {
        path: _content(labelled_set, split).encode()
        for split, path in output_paths(labelled_set, out_dir).items()
    }
    if not force:
        for path, content in contents.items():
            _check_same(path, content)
    Path(out_dir).expanduser().mkdir(parents=True, exist_ok=True)
    replace_files(contents)
    return list(contents)


def check_not_there(
    labelled_set: LabelledSet, out_dir: str | Path, force: bool = False
) -> None:
    """Raise ``FileExistsError`` if :func:`write_set` would, before the long checks.

    Args:
        labelled_set (LabelledSet): What is to be written.
        out_dir (str | Path): As of :func:`write_set`.
        force (bool): As of :func:`write_set`.
    """
    if not force:
        for split, path in output_paths(labelled_set, out_dir).items():
            _check_same(path, _content(labelled_set, split).encode())


def write_report(path: str | Path, text: str) -> None:
    """Write a report whole, in place of an earlier one.

    Args:
        path (str | Path): The file; its folder is made if it is not there.
        text (str): What :func:`format_report` gives.
    """
    path = Path(path).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_files({path: text.encode()})


def _content(labelled_set: LabelledSet, split: str) -> str:
    from capnet_mm import __version__  # the package imports this module

    metainfo = {
        "classes": labelled_set.classes,
        "prompt_names": labelled_set.prompt_names,
        "class_counts": labelled_set.class_counts("train"),
        "num_images": len(labelled_set.splits["train"]),
        "split": split,
        "provenance": {
            "tool": "capnet_mm",
            "version": __version__,
            "options": labelled_set.options,
            "sources": labelled_set.sources,
        },
    }
    images = ",\n".join(
        json.dumps(_entry(image), ensure_ascii=False)
        for image in labelled_set.splits[split]
    )
    head = json.dumps(metainfo, ensure_ascii=False)
    return f'{{"metainfo": {head},\n"data_list": [\n{images}\n]}}\n'


def _entry(image: LabelledImage) -> dict:
    entry = {"img_path": image.path, "gt_label": image.labels}
    return {**entry, "gt_unknown": image.unknown} if image.unknown else entry


def _check_same(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() != content:
        raise FileExistsError(
            f"{path} is there already, with other content: remove it, choose another "
            "--out-dir, or replace it with --force."
        )
