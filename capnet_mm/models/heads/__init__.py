"""Heads."""

from .correlation_prompt_head import CorrelationPromptHead

__all__ = ["CorrelationPromptHead"]
