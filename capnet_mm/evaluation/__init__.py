"""Scores of long-tailed multi-label recognition."""

from .average_precision import average_precision
from .frequency_groups import by_train_count, frequency_groups, group_of
from .long_tail_map import LongTailMAP

__all__ = [
    "LongTailMAP",
    "average_precision",
    "by_train_count",
    "frequency_groups",
    "group_of",
]
