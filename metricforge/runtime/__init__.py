"""The device, precision and ranks of a run; the only part that handles processes."""

from metricforge.runtime.allocator import keep_large_blocks
from metricforge.runtime.device import Runtime, device_name
from metricforge.runtime.randomness import generator, seed_torch
from metricforge.runtime.ranks import Ranks

__all__ = ["Ranks", "Runtime", "device_name", "generator", "keep_large_blocks", "seed_torch"]
