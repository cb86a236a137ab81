"""What happens around the model while it trains."""

from . import hooks, optimizers
from .hooks import *  # noqa: F403
from .optimizers import *  # noqa: F403
from .train_loop import ResumableTrainLoop

__all__ = [*hooks.__all__, *optimizers.__all__, "ResumableTrainLoop"]
