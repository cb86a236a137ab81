"""Features of images on disk, found by the contents of the image."""

import fcntl
import hashlib
import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from mmengine.fileio import get
from mmengine.logging import print_log

from capnet_mm.fileio import remove_parts, replace_files

# Bytes of features in one file, about.
SHARD_BYTES = 32 * 2**20


class FeatureStore:
    """Records of bytes for several views of each image, in a folder.

    ::

        root
        ├── files.json       # size, time and digest of the image files seen
        ├── lock
        └── 3f…              # one folder for each key
            ├── about.json   # the key, and what the writer says of the records
            ├── 91….npy      # records, (n, V, R) uint8
            └── 91….json     # the images that they are of, and checksums

    Records belong to an image's contents: a moved image is found again, a changed one
    is not. Files are written whole, the ``.json`` last, so that what was interrupted is
    not there. Under :meth:`locked` one process writes at a time.

    Args:
        root (str | Path): Folder of all stores.
        name (str): Folder of this one inside ``root``, see :func:`key_name`.
    """

    def __init__(self, root: str | Path, name: str) -> None:
        self.root = Path(root).expanduser()
        self.folder = self.root / name
        self._digests: dict[str, str] | None = None

    @contextmanager
    def locked(self, wait: Callable[[], None]) -> Iterator[None]:
        """Keep other processes from writing in the root.

        Args:
            wait: Called if another process is writing, before waiting for it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.root / "lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                wait()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def missing(self, paths: Sequence[str]) -> dict[str, str]:
        """Look which images have no records.

        Files whose size and time of change are those seen before count as unchanged;
        others are read.

        Args:
            paths: Image files.

        Returns:
            A file for each missing image, by digest.
        """
        remove_parts(self.folder)
        seen = self._files_seen()
        known = dict(seen)
        for path in paths:
            state = _state(path)
            if state is None or known.get(path, [])[:2] != state:
                known[path] = [*(state or (None, None)), digest(get(path))]
        if known != seen:
            replace_files({self.root / "files.json": json.dumps(known).encode()})
        self._open()
        digests = {known[path][2]: path for path in paths}
        return {key: path for key, path in digests.items() if key not in self._places}

    def add(self, digests: Sequence[str], records: np.ndarray) -> None:
        """Keep records.

        Args:
            digests: Of n images.
            records: (n, V, R) uint8.
        """
        stem = digest("".join(digests).encode())
        content = io.BytesIO()
        np.save(content, records)
        checksums = [[zlib.crc32(view) for view in views] for views in records]
        about = json.dumps(dict(images=list(digests), checksums=checksums))
        replace_files(
            {
                self.folder / f"{stem}.npy": content.getvalue(),
                self.folder / f"{stem}.json": about.encode(),
            }
        )
        self._digests = None

    def get(self, path: str, view: int) -> np.ndarray | None:
        """Read a record.

        Args:
            path: Image file, as :meth:`missing` was given it.
            view: Number of the view.

        Returns:
            (R,) uint8, or None if there is none.

        Raises:
            ValueError: The record is damaged.
        """
        if self._digests is None:
            self._open()
        place = self._places.get(self._digests.get(path))
        if place is None:
            return None
        shard, row = place
        record = np.array(self._records[shard][row, view])  # from the disk
        if zlib.crc32(record) != self._checksums[shard][row, view]:
            raise ValueError(
                f"The feature cache {self.folder / shard}.npy is damaged: delete this "
                "file and start again; what it held is then computed anew."
            )
        return record

    @property
    def about(self) -> dict:
        """What the writer says of the records; empty ahead of the first."""
        return _read_json(self.folder / "about.json")

    def describe(self, about: dict) -> None:
        """Write :attr:`about`."""
        text = json.dumps(about, indent=1)
        replace_files({self.folder / "about.json": text.encode()})

    @property
    def free_bytes(self) -> int:
        """Room on the disk."""
        return shutil.disk_usage(self.root).free

    def _open(self) -> None:
        """Find what is there; what is not whole counts as missing."""
        self._records, self._checksums, self._places = {}, {}, {}
        for file in sorted(self.folder.glob("*.json")):
            if file.name == "about.json":
                continue
            try:
                images, records, checksums = _read_shard(file)
            except (OSError, ValueError) as error:
                print_log(
                    f"The feature cache {file} is damaged ({error}): its images are "
                    "computed anew.",
                    logger="current",
                )
                continue
            self._records[file.stem], self._checksums[file.stem] = records, checksums
            for row, image in enumerate(images):
                self._places[image] = file.stem, row
        files = self._files_seen()
        self._digests = {path: state[2] for path, state in files.items()}

    def _files_seen(self) -> dict[str, list]:
        """Size, time and digest by path, of the entries that are whole."""
        files = _read_json(self.root / "files.json")
        return {
            path: state
            for path, state in files.items()
            if isinstance(state, list) and list(map(type, state))[2:] == [str]
        }

    def __getstate__(self) -> dict:
        """Workers open the files themselves."""
        return dict(root=self.root, folder=self.folder, _digests=None)


def key_name(key: dict) -> str:
    """Name a store by what its records depend on."""
    return digest(json.dumps(key, sort_keys=True).encode())


def digest(content: bytes) -> str:
    """Digest of bytes, 32 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _state(path: str) -> list[int] | None:
    """Size and time of change; None of a file that is not on a disk here."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return [state.st_size, state.st_mtime_ns]


def _read_shard(file: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Images, records, (n, V, R), and checksums, (n, V), of a ``.json`` file."""
    about = _read_json(file)
    # As of a file that is written; a pickle is refused, in an archive as well.
    records = np.lib.format.open_memmap(file.with_suffix(".npy"), mode="r")
    images, checksums = about.get("images"), about.get("checksums")
    try:
        checksums = np.array(checksums, dtype=np.uint32)
    except (TypeError, OverflowError) as error:
        raise ValueError(error) from error
    is_whole = isinstance(images, list) and all(type(each) is str for each in images)
    if (
        not is_whole
        or (records.dtype, records.ndim) != (np.uint8, 3)
        or records.shape[:2] != checksums.shape
        or len(records) != len(images)
    ):
        raise ValueError("it does not hold what its .json says")
    return images, records, checksums


def _read_json(path: Path) -> dict:
    """Content of a file; empty if the file is not there, or holds something else."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
