"""What is changed in PyTorch, MMEngine and MMPretrain for all to fit, in one place.

Each function says why it is there, does nothing where it isn't needed, and may be
called any number of times. None of them ever turns ``weights_only`` off.
"""

import pickle
import sys
import warnings
from collections.abc import Callable
from functools import partial, wraps

import numpy as np
import torch
from mmengine.fileio import register_backend
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from torch.hub import load_state_dict_from_url
from torch.utils.checkpoint import checkpoint

# Schemas live as long as the library that defines them.
_operator_schemas: list[torch.library.Library] = []


def prepare() -> None:
    """Put everything in place that MMPretrain needs before it is imported.

    ``import capnet_mm`` calls this function, ahead of its own subpackages.
    """
    ignore_missing_mmcv_operator()
    import_torchvision()
    allow_mmengine_checkpoints()
    refuse_code_in_checkpoints()
    refuse_code_in_yaml()
    checkpoint_activations_without_reentry()
    name_the_inferencer_for_several_labels()
    write_files_whole()


def ignore_missing_mmcv_operator() -> None:
    """Spare every run mmcv-lite's warning that it has no compiled operators.

    Nothing in MMPretrain's classification uses the missing operator.
    """
    warnings.filterwarnings(
        "ignore", "Fail to import ``MultiScaleDeformableAttention``", UserWarning
    )


def import_torchvision() -> None:
    """Import torchvision, also where its compiled operators cannot be loaded.

    torchvision's wheel for CUDA beside PyTorch for CPU (what a plain ``pip install``
    may give) cannot load its library of operators. The import goes on without the
    library, but then describes the shapes of two operators (``nms`` and ``qnms``), and
    PyTorch raises "operator torchvision::nms does not exist". Their mere schemas are
    enough for the import. Nothing here or in MMPretrain's classification calls them;
    who does is told that they have no kernel.

    Raises:
        RuntimeError: torchvision cannot be imported for another reason.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        schemas = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            schemas.define(
                f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        _operator_schemas.append(schemas)
        # Python keeps the submodules that came before the failure, which would be
        # mixed with those of the second attempt.
        for module in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        import torchvision  # noqa: F401


def allow_mmengine_checkpoints() -> None:
    """Tell PyTorch which types beside tensors MMEngine's checkpoints hold.

    From version 2.6 on PyTorch reads only tensors and plain containers unless told
    otherwise, and MMEngine's own checkpoints do not pass: the message hub holds
    ``HistoryBuffer`` with numpy arrays, metrics are numpy scalars, and a one-cycle
    schedule holds a reference to its own method. These are listed here one by one,
    all of them data. Files written under numpy 1 name the module ``numpy.core``,
    those of numpy 2 ``numpy._core``; each numpy reads both.
    """
    multiarray = (getattr(np, "_core", None) or np.core).multiarray
    numbers = "? b B h H i I l L q Q e f d".split()  # bool, integers, floats
    dtypes = {type(np.dtype(code)) for code in (*numbers, "U")}
    allowed: list[type | Callable | tuple[Callable, str]] = [
        HistoryBuffer,
        OneCycleParamScheduler,
        (_get_known_method, "builtins.getattr"),
        np.ndarray,
        np.dtype,
        *sorted(dtypes, key=lambda dtype: dtype.__name__),
    ]
    for core in ("numpy._core", "numpy.core"):
        allowed += [
            (multiarray.scalar, f"{core}.multiarray.scalar"),
            (multiarray._reconstruct, f"{core}.multiarray._reconstruct"),
        ]
    torch.serialization.add_safe_globals(allowed)


# The methods that MMEngine's objects hold references to, and so write into files.
_KNOWN_METHODS: dict[type, tuple[str, ...]] = {
    HistoryBuffer: ("min", "max", "mean", "current"),
    OneCycleParamScheduler: ("_annealing_cos", "_annealing_linear"),
}


def _get_known_method(owner: type, name: str) -> Callable:
    """Stands for ``getattr`` in checkpoints, which pickle uses to refer to methods.

    The real one would let a file reach any attribute of anything, and from there
    code; this one knows a handful of methods.
    """
    for known, names in _KNOWN_METHODS.items():
        if owner is known and name in names:
            return getattr(owner, name)
    raise pickle.UnpicklingError(
        f"The file refers to {name!r} of {owner!r}, which a checkpoint does not need."
    )


def refuse_code_in_checkpoints() -> None:
    """Have MMEngine read plain weights only, from the web too.

    MMEngine reads downloads with PyTorch Hub's function, which runs code unless told
    otherwise. The community fork onedl-mmengine answers a checkpoint that
    ``weights_only=True`` refuses by reading it again with ``weights_only=False``.
    MMEngine itself does not, and has no such function.
    """
    from mmengine.runner import checkpoint

    checkpoint.load_url = partial(load_state_dict_from_url, weights_only=True)
    if hasattr(checkpoint, "_safe_torch_load"):
        checkpoint._safe_torch_load = _load_plain


def _load_plain(file, map_location=None, weights_only=None):
    """``torch.load`` with ``weights_only=True``, unless the caller says otherwise."""
    weights_only = True if weights_only is None else weights_only
    return torch.load(file, map_location=map_location, weights_only=weights_only)


def refuse_code_in_yaml() -> None:
    """Have MMEngine read YAML as data, tuples of Python's included.

    MMEngine takes PyYAML's loader that calls any function that the file names.
    """
    from mmengine.fileio.handlers import yaml_handler

    yaml_handler.Loader = yaml_handler.yaml.FullLoader


def checkpoint_activations_without_reentry() -> None:
    """Have MMEngine's ``activation_checkpointing`` train what lies in a frozen part.

    MMEngine takes PyTorch's reentrant checkpoint, through which no gradient flows
    unless an input needs one: the adapters of a frozen image tower, whose input are
    pixels, stay untrained without a word. It runs its part without gradient first,
    too, and refuses keyword arguments. The other kind, which PyTorch recommends, has
    none of that.
    """
    from mmengine.runner import activation_checkpointing

    # Looked up whenever a part is wrapped, so that MMEngine's runner finds this one.
    activation_checkpointing.wrap_forward = _checkpoint_forward


def _checkpoint_forward(forward: Callable) -> Callable:
    """``forward``, whose activations are computed again in the backward pass."""

    @wraps(forward)
    def checkpointed(*args, **kwargs):
        # Bound beforehand: checkpoint() has keyword arguments of its own.
        return checkpoint(partial(forward, **kwargs), *args, use_reentrant=False)

    return checkpointed


def name_the_inferencer_for_several_labels() -> None:
    """Have MMPretrain's inferencer say that it names one class alone.

    ``ImageClassificationInferencer`` gives the argmax of any model, a multi-label one
    included, and so drops predicted labels without a word.
    """
    from mmpretrain.apis import ImageClassificationInferencer

    init = ImageClassificationInferencer.__init__
    if not hasattr(init, "__wrapped__"):
        ImageClassificationInferencer.__init__ = _tell_of_several_labels(init)


def _tell_of_several_labels(init: Callable) -> Callable:
    from mmpretrain.models.heads import MultiLabelClsHead

    @wraps(init)
    def telling(self, *args, **kwargs):
        init(self, *args, **kwargs)
        if isinstance(getattr(self.model, "head", None), MultiLabelClsHead):
            warnings.warn(
                f"{type(self).__name__} names the single best class of a picture: "
                "for all labels over their thresholds use "
                "capnet_mm.apis.MultiLabelInferencer, with the same arguments.",
                stacklevel=2,
            )

    return telling


def write_files_whole() -> None:
    """Have MMEngine write checkpoints and results whole or not at all.

    It opens the file under its final name and writes: a process that is killed, or a
    disk that is full, leaves half a checkpoint there, in place of the one before. All
    its writing goes through one backend, FSDP's too.
    """
    from .fileio import WholeFileBackend

    register_backend("local", WholeFileBackend, force=True, prefixes="")
