"""Writing files so that nobody ever reads a part of one."""

import os
import tempfile
from pathlib import Path

from mmengine.fileio import LocalBackend


def replace_files(contents: dict[Path, bytes]) -> None:
    """Write files whole: all beside their places first, then all are renamed.

    What can be read under a file's name is the old file or the whole new one, also
    when writing fails half-way.

    Args:
        contents (dict[Path, bytes]): Content of each file.
    """
    complete: list[tuple[str, Path]] = []
    try:
        for path, content in contents.items():
            handle, name = tempfile.mkstemp(
                prefix=f".{path.name}.", suffix=".tmp", dir=path.parent
            )
            complete.append((name, path))
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp's file is its owner's alone; others may read an ordinary one.
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)
        for name, path in complete:
            os.replace(name, path)
    finally:
        for name, _ in complete:
            Path(name).unlink(missing_ok=True)


def remove_parts(folder: str | Path) -> None:
    """Delete what a process that was killed in :func:`replace_files` was writing.

    Args:
        folder (str | Path): Where no other process writes now.
    """
    for path in Path(folder).glob(".*.tmp"):
        path.unlink(missing_ok=True)


class WholeFileBackend(LocalBackend):
    """MMEngine's backend for local files, which writes them whole or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write beside, then rename; devices and pipes are written to as before."""
        path = Path(filepath).resolve()  # a link stays one
        if path.exists() and not path.is_file():
            super().put(obj, filepath)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_files({path: obj})

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write a text as :meth:`put` writes bytes."""
        self.put(obj.encode(encoding), filepath)
