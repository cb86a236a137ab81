"""Keeps frozen weights out of checkpoints."""

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from capnet_mm.models.identity import LoadsFrozenWeights, unwrapped_key

from ..unwrap import unwrap_model


@HOOKS.register_module()
class TrainableCheckpointHook(Hook):
    """Saves what was trained; leaves out frozen weights that a model loads itself.

    A CLIP takes hundreds of megabytes, its adapters and prompts a few. The model
    loads its CLIP when it is built, so checkpoints need not repeat it. Left out of
    ``state_dict`` (and of the averaged weights of ``EMAHook``) are, in modules that
    are :class:`~capnet_mm.models.identity.LoadsFrozenWeights`, parameters with
    ``requires_grad=False`` and the buffers of modules whose parameters are all
    frozen, as long as they still are what construction made them. Thus a
    checkpoint holds, beside everything trained:

    - frozen weights of other modules, such as MMPretrain's backbones;
    - buffers of modules without parameters, such as class counts in a loss;
    - frozen weights that came later than construction, from ``init_cfg`` or from
      ``load_from``;
    - buffers that change although their module is frozen (the statistics of a batch
      norm in training mode).

    The modules' identity, with the checksum of every frozen weight, is in the state
    dict: on loading, the modules compare it with their own weights.

    Examples:
        >>> custom_hooks = [dict(type='TrainableCheckpointHook')]
    """

    # After EMAHook (NORMAL), which exchanges averaged and current weights key by
    # key when it saves, and must find all of them.
    priority = "LOW"

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Leave frozen weights out."""
        for name, module in unwrap_model(runner.model).named_modules():
            if not isinstance(module, LoadsFrozenWeights):
                continue
            prefix = unwrapped_key(f"{name}." if name else "")
            weights = checkpoint["state_dict"]
            left_out = [prefix + key for key in module.spared_keys(weights, prefix)]
            for state, start in (("state_dict", ""), ("ema_state_dict", "module.")):
                for key in left_out:
                    checkpoint.get(state, {}).pop(start + key, None)
