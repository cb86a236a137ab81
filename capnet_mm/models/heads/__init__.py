"""Heads."""

from .correlation_prompt_head import CorrelationPromptHead
from .csra_head import PartialLabelCSRAHead
from .partial_labels import PartialLabelLinearHead

__all__ = ["CorrelationPromptHead", "PartialLabelCSRAHead", "PartialLabelLinearHead"]
