"""How optimizers are built, and how they compute."""

from .bfloat16_optim_wrapper import BFloat16OptimWrapper
from .checked_optim_wrapper_constructor import CheckedOptimWrapperConstructor

__all__ = ["BFloat16OptimWrapper", "CheckedOptimWrapperConstructor"]
