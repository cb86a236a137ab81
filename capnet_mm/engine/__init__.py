"""What happens around the model while it trains."""

from .hooks import *  # noqa: F403
from .hooks import __all__

__all__ = list(__all__)
