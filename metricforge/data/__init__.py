"""Images with their labels: read, cached, and split so that test classes are held out."""

from metricforge.data.decode import read_image
from metricforge.data.images import (
    MEMORY_LIMIT,
    FileImages,
    Images,
    MemoryImages,
    fingerprint,
    open_images,
)
from metricforge.data.pillow_settings import MAX_PIXELS
from metricforge.data.split import Split, split_dataset
from metricforge.data.split_rules import PARTS, RULES

__all__ = [
    "MAX_PIXELS",
    "MEMORY_LIMIT",
    "PARTS",
    "RULES",
    "FileImages",
    "Images",
    "MemoryImages",
    "Split",
    "fingerprint",
    "open_images",
    "read_image",
    "split_dataset",
]
