"""Losses."""

from .db_focal_loss import DBFocalLoss

__all__ = ["DBFocalLoss"]
