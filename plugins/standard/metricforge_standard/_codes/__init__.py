"""Embeddings in fewer bits: rounded rows, their bytes, and a search among these."""

from __future__ import annotations

from metricforge_standard._codes.binary import Binary
from metricforge_standard._codes.int8 import Int8
from metricforge_standard._codes.plain import Plain
from metricforge_standard._codes.product import Product

__all__ = ["Binary", "Int8", "Plain", "Product"]
