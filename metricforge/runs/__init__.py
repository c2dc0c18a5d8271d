"""A run: one training, and the folder that records it."""

from metricforge.runs.lock import held

__all__ = ["held"]
