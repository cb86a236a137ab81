"""Reading checkpoints of unknown origin: plain weights only. Adding to their meta."""

import hashlib
import io
import os
import pickle
from pathlib import Path
from urllib.parse import urlparse

import torch

from .fileio import replace_files


def check_checkpoint(path: str) -> str:
    """Make sure that a checkpoint can be read and holds plain weights.

    MMEngine reads it only after it has set up the run; here nothing has been written
    yet. A web address is downloaded first, because MMEngine reads downloads without
    ``weights_only``. Downloads are kept in PyTorch Hub's folder, one file an address.

    Args:
        path (str): A file, or a web address; MMEngine's other schemes (``s3://``,
            ``open-mmlab://``, …) are left to MMEngine.

    Returns:
        str: Path of the file, the downloaded one for a web address.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or is refused because it holds more than
            plain weights: reading it could run code.
    """
    if "://" in path and not _is_web_address(path):
        return path
    path = _local_file(path)
    read_checkpoint(path)
    return path


def read_checkpoint(path: str) -> dict:
    """Read a file that holds plain weights and plain data.

    Args:
        path (str): The file, or a web address, which is downloaded as by
            :func:`check_checkpoint`.

    Returns:
        dict: What is in it, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or is refused because it holds more than
            plain weights: reading it could run code.
    """
    path = _local_file(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"There is no checkpoint {path} (looked for in {os.getcwd()})."
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"The checkpoint {path} was refused because it isn't plain weights: it "
            "carries objects that could run code when they are read. Use one that "
            f"holds tensors and plain data only. PyTorch says: {_reason(error)}"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"The checkpoint {path} cannot be read: it is truncated, or no checkpoint "
            f"at all ({error})."
        ) from error


def _local_file(path: str) -> str:
    return _download(path) if _is_web_address(path) else os.path.expanduser(path)


def _is_web_address(path: str) -> bool:
    return urlparse(path).scheme in ("http", "https")


def add_to_meta(path: str, entries: dict, out: str | None = None) -> None:
    """Write entries into the meta of a checkpoint; all else in it stays.

    The file is replaced at once: whoever reads it finds the old one or the new one.

    Args:
        path (str): A checkpoint that :func:`check_checkpoint` has let pass.
        entries (dict): Plain Python values by their names in ``meta``.
        out (str, optional): Another file to write to. Defaults to None: this one.
    """
    checkpoint = read_checkpoint(path)
    checkpoint.setdefault("meta", {}).update(entries)
    content = io.BytesIO()
    torch.save(checkpoint, content)
    # A link stays one.
    replace_files({Path(out or path).resolve(): content.getvalue()})


def _download(url: str) -> str:
    folder = os.path.join(torch.hub.get_dir(), "checkpoints")
    path = os.path.join(folder, _file_name(url))
    if not os.path.isfile(path):
        os.makedirs(folder, exist_ok=True)
        # Written beside and moved when complete, so that processes may race.
        torch.hub.download_url_to_file(url, path, progress=False)
    return path


def _file_name(url: str) -> str:
    """Name for a download, e.g. ``epoch_10-2cf24dba5fb0a30e.pth``.

    Many addresses end alike, so the name holds a digest of the whole address.
    """
    stem, extension = os.path.splitext(os.path.basename(urlparse(url).path))
    return f"{stem}-{hashlib.sha256(url.encode()).hexdigest()[:16]}{extension}"


def _reason(error: Exception) -> str:
    """The line of PyTorch's long message that names the object."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "GLOBAL" in line or "reduce" in line]
    return (named or lines or ["no reason"])[0][:200]
