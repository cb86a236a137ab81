"""What all readers share: text, lists of images, and a record of the files."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from capnet_mm.datasets.list_files import check_images, read_text
from capnet_mm.plain_text import shown

from .labelled_set import LabelledSet


def wrong(place: str, expected: str, got: object) -> ValueError:
    """Make the error that something else than expected stands in a place."""
    return ValueError(f"{place}: expected {expected}, got {shown(got)}.")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ``ValueError`` unless an option is one of its choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown: expected {choices}.")


def clean_path(path: str) -> str:
    """An image path with forward slashes, and without "." and "//"."""
    return str(PurePosixPath(path.replace("\\", "/"))) if path else ""


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class SourceFiles:
    """The folder of a download, and a record of the files that were read.

    Args:
        data_root (str | Path): The folder; ``FileNotFoundError`` if it is not there.
    """

    def __init__(self, data_root: str | Path) -> None:
        self.root = Path(data_root).expanduser()
        self.records: list[dict] = []
        if not self.root.is_dir():
            raise FileNotFoundError(
                f"There is no data root {self.root}: give the folder that the download "
                "was unpacked in."
            )

    def find(
        self, names: Sequence[str], given: str | Path | None = None
    ) -> Path | None:
        """Find a file: the given one, else the first of these names, or None."""
        paths = [self.root / name for name in names]
        there = next((path for path in paths if path.exists()), None)
        return there if given is None else Path(given).expanduser()

    def find_list(self, names: Sequence[str], given: str | Path | None) -> Path:
        """Find an image list as :meth:`find` does, or raise ``FileNotFoundError``."""
        if path := self.find(names, given):
            return path
        raise FileNotFoundError(
            f"None of the lists {', '.join(names)} is in {self.root}: give the list of "
            "images with --train-list / --test-list (LMPT's, or the DB-loss project's "
            "img_id.txt or img_id.pkl)."
        )

    def start_set(self, name: str, metainfo: dict, **options: str) -> LabelledSet:
        """Begin a set of these files, with the classes of a data set and no image."""
        prompt_names = metainfo.get("prompt_names")
        return LabelledSet(
            name, metainfo["classes"], prompt_names, {}, self.records, options
        )

    def read_images(
        self, path: Path, hint: str, parse: Callable, blank: bool = False
    ) -> list:
        """Read a list of images, each line by ``parse(line, place)``.

        ``parse`` gives a tuple that begins with path or id of an image and has its
        ``place`` ("list.txt, line 3"). Blank lines are skipped, or with ``blank``
        parsed but for those at the end. The file is recorded.
        """
        lines = read_text(path, "image list", hint).rstrip().split("\n")
        images = [
            parse(line, f"{path}, line {number}")
            for number, line in enumerate(lines, start=1)
            if line.strip() or (blank and len(lines) > 1)
        ]
        check_images(((image[0], image.place) for image in images), path)
        self.record(path)
        return images

    def record(self, path: Path, parts: Iterable[Path] | None = None) -> None:
        """Note the SHA-256 of a file, or over names and hashes of a folder's parts."""
        # Where a download lies on one's own disk is nobody else's business.
        shown, root = path.resolve(), self.root.resolve()
        inside = shown.is_relative_to(root)
        record = {"path": shown.relative_to(root).as_posix() if inside else path.name}
        if parts is None:
            record["sha256"] = file_hash(path)
        else:
            parts = sorted(set(parts))
            names = [part.relative_to(path).as_posix() for part in parts]
            hashes = zip(names, map(file_hash, parts), strict=True)
            lines = "".join(f"{name}\0{digest}\n" for name, digest in hashes)
            record["files"] = len(parts)
            record["sha256"] = hashlib.sha256(lines.encode()).hexdigest()
        self.records.append(record)
