"""Comparing configs: trainings one after the other, and their table."""
