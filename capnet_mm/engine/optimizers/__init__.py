"""How optimizers are built."""

from .checked_optim_wrapper_constructor import CheckedOptimWrapperConstructor

__all__ = ["CheckedOptimWrapperConstructor"]
