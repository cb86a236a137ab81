"""What weights belong to: written into the state dict, compared on loading."""

import json
import zlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_KEY = "_extra_state"  # PyTorch's


class StatesIdentity:
    """Has a module's state dict say what the weights in it belong to.

    Put before ``nn.Module`` among the base classes. What :meth:`identity` returns
    goes with every state dict, and whoever loads one (MMEngine's runner,
    ``mmpretrain.apis.get_model``, plain ``load_state_dict``) has
    :meth:`check_identity` called before a weight is taken. State dicts that say
    nothing, of other sources, are not compared.
    """

    def identity(self) -> dict:
        """What the weights belong to, as JSON can hold it."""
        raise NotImplementedError

    def check_identity(self, saved: dict, missing: set[str]) -> None:
        """Refuse weights that belong to something else.

        Args:
            saved: Identity in the state dict.
            missing: Keys of this module that the state dict leaves out.

        Raises:
            ValueError: The weights would give nonsense in this module.
        """
        raise NotImplementedError

    def get_extra_state(self) -> Tensor:
        """The identity as bytes, (n,) uint8: MMEngine takes only tensors."""
        text = json.dumps(self.identity(), ensure_ascii=False)
        return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Nothing to take over: the identity is the module's own."""

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        missing_keys = args[2]
        saved = state_dict.get(prefix + _KEY)
        if saved is not None:
            missing = {key for key in _tensors(self) if prefix + key not in state_dict}
            # Whoever converts all tensors to half precision converts the bytes too;
            # up to 256 no whole number is lost.
            text = bytes(saved.to(torch.uint8).tolist()).decode()
            self.check_identity(json.loads(text), missing)
        super()._load_from_state_dict(state_dict, prefix, *args)
        if saved is None and prefix + _KEY in missing_keys:
            missing_keys.remove(prefix + _KEY)


class LoadsFrozenWeights(StatesIdentity):
    """A module that loads its frozen weights itself, when it is built.

    Checkpoints need not repeat them: ``TrainableCheckpointHook`` leaves out the keys
    of :meth:`spared_keys`, loading does not miss them, and their checksums, which
    are the module's identity, tell another CLIP from that of training. Subclasses
    call :meth:`remember_frozen_weights` at the end of ``__init__``.
    """

    def remember_frozen_weights(self, source: str) -> None:
        """Take the checksums of the weights that are frozen now.

        Args:
            source: Where they come from, for messages.
        """
        self._source = source
        self._frozen_checksums = _checksums(self, frozen_keys(self))
        self._loading_prefix = ""
        self.register_load_state_dict_post_hook(_forgive_frozen)

    def spared_keys(self, state_dict: dict[str, Tensor], prefix: str = "") -> set[str]:
        """Keys that a checkpoint need not hold.

        Args:
            state_dict: Whole weights of the model (under FSDP the module has shards).
            prefix: The module's name in it, with the dot.

        Returns:
            Keys, without the prefix, of the weights that are frozen and are what
            construction gave.
        """
        return {
            key
            for key in frozen_keys(self) & self._frozen_checksums.keys()
            if prefix + key in state_dict
            and checksum(state_dict[prefix + key]) == self._frozen_checksums[key]
        }

    def identity(self) -> dict:
        """Source and checksums of the frozen weights."""
        return dict(source=self._source, frozen_weights=self._frozen_checksums)

    def check_identity(self, saved: dict, missing: set[str]) -> None:
        """See :meth:`StatesIdentity.check_identity`."""
        theirs = saved["frozen_weights"]
        now = _checksums(self, missing)
        different = [
            key
            for key in sorted(theirs)
            if key in missing
            and not _agree(theirs[key], now.get(key), self._frozen_checksums.get(key))
        ]
        different += sorted(set(theirs) - _tensors(self).keys())
        if different:
            named = ", ".join(different[:3]) + (", …" if len(different) > 3 else "")
            raise ValueError(
                f"The checkpoint holds only what was trained, beside the frozen "
                f"weights of {saved['source']}; {len(different)} of those "
                f"{len(theirs)} frozen weights are not those of this model, "
                f"{self._source} ({named}). Use the CLIP (model and pretrained) that "
                "it was trained with; for a CLIP with random weights the same seed."
            )

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        self._loading_prefix = prefix
        super()._load_from_state_dict(state_dict, prefix, *args)


def _forgive_frozen(module: LoadsFrozenWeights, incompatible_keys) -> None:
    """Take the module's frozen weights from the missing keys."""
    frozen = {module._loading_prefix + key for key in frozen_keys(module)}
    # In place: PyTorch and MMEngine go on with this very list.
    missing = incompatible_keys.missing_keys
    missing[:] = [key for key in missing if key not in frozen]


def refuse_other_classes(mine: Iterable[str], saved: Iterable[str], whose: str) -> None:
    """Compare class names with those of a checkpoint.

    Args:
        mine: Names of the model's classes.
        saved: Those of the checkpoint.
        whose: Which part of the model states them, for the message.

    Raises:
        ValueError: Names or order differ; with both lists.
    """
    mine, saved = list(mine), list(saved)
    if mine != saved:
        raise ValueError(
            f"The checkpoint was trained for the {len(saved)} classes {saved}; {whose} "
            f"has the {len(mine)} classes {mine}. Give the model the checkpoint's "
            "classes, in the same order, or train anew."
        )


def frozen_keys(module: nn.Module) -> set[str]:
    """Keys of ``module.state_dict()`` that training does not change.

    Args:
        module (nn.Module): A module, not wrapped.

    Returns:
        set[str]: Frozen parameters, and buffers of modules that have parameters,
        their own or their submodules', all of them frozen. A parameter known by
        several names is there by each.
    """
    keys = {
        name
        for name, parameter in module.named_parameters(remove_duplicate=False)
        if not parameter.requires_grad
    }
    for name, part in module.named_modules(remove_duplicate=False):
        parameters = list(part.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            keys |= {_join(name, buffer) for buffer, _ in _saved_buffers(part)}
    return {unwrapped_key(key) for key in keys}


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and saved buffers by their keys in the state dict."""
    named = dict(module.named_parameters(remove_duplicate=False))
    for name, part in module.named_modules(remove_duplicate=False):
        named |= {_join(name, key): buffer for key, buffer in _saved_buffers(part)}
    return {unwrapped_key(key): tensor for key, tensor in named.items()}


def _saved_buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    hidden = module._non_persistent_buffers_set
    return [
        (name, buffer)
        for name, buffer in module.named_buffers(recurse=False)
        if name not in hidden
    ]


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def unwrapped_key(key: str) -> str:
    """Return a key without the names that FSDP and checkpointing put between."""
    for wrapper in ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module."):
        key = key.replace(wrapper, "")
    return key


def _checksums(module: nn.Module, keys: Iterable[str]) -> dict[str, str]:
    """Data type, shape and checksum of those of the weights that have values."""
    tensors = _tensors(module)
    known = [key for key in sorted(keys) if key in tensors and not tensors[key].is_meta]
    return {key: checksum(tensors[key]) for key in known}


def checksum(weight: Tensor) -> str:
    """Data type, shape and CRC-32 of a weight."""
    data = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return f"{weight.dtype} {tuple(weight.shape)} {zlib.crc32(data):08x}"


def _agree(saved: str, now: str | None, constructed: str | None) -> bool:
    """Whether checksums can be those of the same weight.

    A weight of another precision, or the shard of one, cannot be compared byte by
    byte; what it was when the model was built can.
    """
    for found in (now, constructed):
        if found is not None and _kind(found) == _kind(saved):
            return found == saved
    shape = _kind(saved)[1]
    return any(found and _kind(found)[1] == shape for found in (now, constructed))


def _kind(checksum: str) -> tuple[str, str]:
    """Data type and shape."""
    dtype, rest = checksum.split(" ", 1)
    return dtype, rest.rsplit(" ", 1)[0]
