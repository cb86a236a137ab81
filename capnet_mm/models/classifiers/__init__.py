"""Classifiers."""

from .clip_classifier import CLIPClassifier

__all__ = ["CLIPClassifier"]
