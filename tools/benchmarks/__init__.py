"""Benchmarks: what the method costs beside what a user would run instead."""
