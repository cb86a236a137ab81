"""Heads."""

from .correlation_prompt_head import CorrelationPromptHead
from .partial_labels import PartialLabelLinearHead

__all__ = ["CorrelationPromptHead", "PartialLabelLinearHead"]
