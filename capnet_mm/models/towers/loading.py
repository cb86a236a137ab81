"""Loading a CLIP through open_clip, with errors that tell the user what to do."""

import difflib
import logging
import os
import os.path as osp
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pickle import UnpicklingError

import open_clip
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

_LOCAL_DIR = "local-dir:"
# In a folder's weights: which rows of the token table are there.
_TOKEN_ROWS = "token_embedding.rows"
_HF_HUB = "hf-hub:"


def load_clip(
    model: str,
    pretrained: str | None = None,
    quick_gelu: bool | None = None,
    cache_dir: str | None = None,
) -> nn.Module:
    """Build an open_clip model on the CPU in float32 and load its weights.

    A folder's ``open_clip_model.safetensors`` may leave out rows of the token table,
    of tokens that the CLIP never learned: ``token_embedding.rows``, (R,), then says
    which rows ``token_embedding.weight``, (R, width), has. The others are zero.

    Args:
        model: An open_clip architecture (``'ViT-B-16'``, ``'RN50'``, …),
            ``'local-dir:PATH'`` of a directory in open_clip's format, or
            ``'hf-hub:ORG/NAME'``.
        pretrained: Tag (``'openai'``, ``'laion2b_s34b_b88k'``, …) or checkpoint
            file of an architecture. None or ``'none'``: random weights. Not
            looked at when ``model`` brings its own weights.
        quick_gelu: Whether the activation is QuickGELU. None: as the tag says
            (OpenAI's weights need it), and GELU for checkpoint files.
        cache_dir: Where open_clip keeps downloads. None: its own default.

    Returns:
        open_clip's ``CLIP`` or ``CustomTextCLIP`` in eval mode.

    Raises:
        ValueError: For an unknown architecture or tag, weights of another
            architecture, or a checkpoint that holds more than weights.
        FileNotFoundError: For a missing file, or weights that are neither here
            nor can be downloaded.
    """
    pretrained, of_tag = _check_names(model, pretrained)
    compact = _compact_weights(model)
    quietly = nullcontext() if compact is None else _no_warning_of_random_weights()
    with _errors_explained(model, pretrained), quietly:
        clip = open_clip.create_model(
            model,
            pretrained=pretrained,
            force_quick_gelu=of_tag if quick_gelu is None else quick_gelu,
            cache_dir=cache_dir,
            require_pretrained=pretrained is not None or model.startswith(_HF_HUB),
            load_weights=compact is None,
        )
        if compact is not None:
            _load_compact(clip, compact)
    return clip.eval()


def clip_name(model: str, pretrained: str | None) -> str:
    """Name of a CLIP for messages: ``'ViT-B-16 (openai)'``, ``'local-dir:my_clip'``."""
    return f"{model} ({pretrained or 'random weights'})" if ":" not in model else model


def _check_names(model: str, pretrained: str | None) -> tuple[str | None, bool]:
    """Check model and weights; the weights to ask for, and whether of a QuickGELU."""
    if model.startswith(_LOCAL_DIR):
        _check_local_dir(model[len(_LOCAL_DIR) :])
        return None, False
    if model.startswith(_HF_HUB):
        return None, False
    _check_architecture(model)
    if pretrained is None or pretrained.lower() == "none":
        return None, False
    tag = _check_pretrained(model, pretrained)
    return pretrained, bool(tag.get("quick_gelu", False))


@contextmanager
def _errors_explained(model: str, pretrained: str | None) -> Iterator[None]:
    """Turn open_clip's errors into those that :func:`load_clip` raises."""
    try:
        yield
    except UnpicklingError as error:
        raise ValueError(
            f"The checkpoint {pretrained or model} was refused: it holds more than "
            "tensors, and unpickling it could run code. Use a .safetensors file or "
            "a checkpoint of plain weights."
        ) from error
    except (AssertionError, RuntimeError) as error:
        # open_clip asserts the width of the positional embeddings.
        if "Error(s) in loading state_dict" in str(error) or "pos_embed" in str(error):
            raise ValueError(
                f"The weights {pretrained or model} are not those of a {model}: {error}"
            ) from error
        if "download" in str(error).lower() or model.startswith(_HF_HUB):
            raise FileNotFoundError(_how_to_fetch(model, pretrained)) from error
        raise


def _check_local_dir(path: str) -> None:
    if not osp.isdir(path):
        raise FileNotFoundError(
            f"There is no CLIP directory {path!r}. local-dir: expects a directory "
            "with open_clip_config.json and open_clip_model.safetensors."
        )
    if not osp.isfile(osp.join(path, "open_clip_config.json")):
        raise FileNotFoundError(
            f"{path!r} has no open_clip_config.json, so it is not a CLIP in "
            "open_clip's directory format."
        )
    weights = (".safetensors", ".bin", ".pth")
    if not any(osp.splitext(file)[1] in weights for file in os.listdir(path)):
        raise FileNotFoundError(
            f"{path!r} has no weights: put open_clip_model.safetensors there."
        )


def _compact_weights(model: str) -> str | None:
    """The weights of a folder whose token table is incomplete."""
    path = osp.join(model.removeprefix(_LOCAL_DIR), "open_clip_model.safetensors")
    if not model.startswith(_LOCAL_DIR) or not osp.isfile(path):
        return None
    with safe_open(path, framework="pt") as weights:
        return path if _TOKEN_ROWS in weights.keys() else None


@contextmanager
def _no_warning_of_random_weights() -> Iterator[None]:
    """Spare users open_clip's warning of random weights that are replaced at once."""

    def is_another(record: logging.LogRecord) -> bool:
        return "No pretrained weights loaded" not in record.getMessage()

    root = logging.getLogger()  # which open_clip logs to
    root.addFilter(is_another)
    try:
        yield
    finally:
        root.removeFilter(is_another)


def _load_compact(clip: nn.Module, path: str) -> None:
    state = load_file(path)
    rows, known = state.pop(_TOKEN_ROWS), state["token_embedding.weight"]
    table = known.new_zeros(clip.token_embedding.weight.shape)
    table[rows] = known
    clip.load_state_dict(dict(state, **{"token_embedding.weight": table}))


def _check_architecture(model: str) -> None:
    known = open_clip.list_models()
    if model.replace("/", "-") in known:
        return
    close = difflib.get_close_matches(model, known, n=5, cutoff=0.4)
    raise ValueError(
        f"open_clip knows no model {model!r}. "
        f"Close names: {', '.join(close) or 'none'}. Use one of "
        "open_clip.list_models(), 'local-dir:PATH' or 'hf-hub:ORG/NAME'."
    )


def _check_pretrained(model: str, pretrained: str) -> dict:
    """Return open_clip's entry for a tag, or {} for a checkpoint file."""
    tag = get_pretrained_cfg(model.replace("/", "-"), pretrained)
    if tag or osp.isfile(pretrained):
        return tag
    if osp.dirname(pretrained) or osp.splitext(pretrained)[1]:
        raise FileNotFoundError(f"There is no CLIP checkpoint file {pretrained!r}.")
    tags = ", ".join(list_pretrained_tags_by_model(model)) or "none"
    raise ValueError(
        f"open_clip has no weights {pretrained!r} for {model}. Its tags: {tags}. "
        "A path to a checkpoint file is taken as well."
    )


def _how_to_fetch(model: str, pretrained: str | None) -> str:
    tag = get_pretrained_cfg(model.replace("/", "-"), pretrained) if pretrained else {}
    sources = []
    if repository := tag.get("hf_hub", "") or model.removeprefix(_HF_HUB):
        sources.append(
            "open_clip_model.safetensors (or open_clip_pytorch_model.bin) of the "
            f"Hugging Face repository {repository.rstrip('/')}"
        )
    if url := tag.get("url", ""):
        sources.append(url)
    return (
        f"The weights {pretrained or ''} of {model} are not on this machine and could "
        f"not be downloaded. On a machine with a network fetch {' or '.join(sources)}, "
        "copy the file here and set pretrained to its path"
        + (" with quick_gelu=True." if tag.get("quick_gelu") else ".")
    )
