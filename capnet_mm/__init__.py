"""CAPNET for MMPretrain: long-tailed multi-label recognition with CLIP.

Importing this package registers every piece in :mod:`mmpretrain.registry`; a
config needs ``custom_imports = dict(imports='capnet_mm')`` and nothing else.
"""

from . import compat

compat.prepare()  # before anything below imports torchvision

from mmpretrain import registry  # noqa: E402

from . import datasets, engine, evaluation, models  # noqa: E402
from .arguments import check_registered  # noqa: E402

check_registered(
    [each for each in vars(registry).values() if isinstance(each, registry.Registry)],
    package=__name__,
)

__version__ = "0.1.0"

__all__ = ["__version__", "compat", "datasets", "engine", "evaluation", "models"]
