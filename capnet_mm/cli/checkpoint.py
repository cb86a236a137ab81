"""Looking at a checkpoint before a run is started on it, and adding to its meta."""

import hashlib
import io
import os
import pickle
from pathlib import Path
from urllib.parse import urlparse

import torch

from capnet_mm.fileio import replace_files


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
    scheme = urlparse(path).scheme
    if scheme in ("http", "https"):
        path = _download(path)
    elif "://" in path:
        return path
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"There is no checkpoint {path} (looked for in {os.getcwd()})."
        )
    try:
        torch.load(path, map_location="cpu", weights_only=True)
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
    return path


def add_to_meta(path: str, entries: dict, out: str | None = None) -> None:
    """Write entries into the meta of a checkpoint; all else in it stays.

    The file is replaced at once: whoever reads it finds the old one or the new one.

    Args:
        path (str): A checkpoint that :func:`check_checkpoint` has let pass.
        entries (dict): Plain Python values by their names in ``meta``.
        out (str, optional): Another file to write to. Defaults to None: this one.
    """
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
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
