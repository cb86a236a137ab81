"""Benchmarks: what the method costs beside what a user would run instead."""

import capnet_mm  # noqa: F401  (before anything here imports torchvision)
