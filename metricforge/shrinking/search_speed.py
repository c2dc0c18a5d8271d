"""How fast packed rows are searched: all of them, by faiss, for the 10 nearest, 32 at a time.

The speed does not depend on the values of rows: a few are repeated.
"""

from __future__ import annotations

import time
from typing import Any

import faiss
import numpy as np
import torch
from torch import Tensor

from metricforge.shrinking.form import Shrinks

ROWS = 100_000
REPEATS = 7
QUERIES = 32
NEAREST = 10


def flat_speed(rows: Tensor) -> float:
    """Queries a second among float32 rows [N, D]."""
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(_repeated(rows).numpy())
    return _rate(index, rows[:QUERIES].numpy())


def packed_speed(head: Shrinks, rows: Tensor) -> float:
    """Queries a second among rows [N, D] of a head, packed."""
    codes = head.pack(rows)
    index = head.index(_repeated(codes))
    binary = isinstance(index, faiss.IndexBinary)
    return _rate(index, (codes if binary else rows)[:QUERIES].numpy())


def _repeated(rows: Tensor) -> Tensor:
    return rows[torch.arange(ROWS) % len(rows)].contiguous()


def _rate(index: Any, queries: Any) -> float:
    asked = np.ascontiguousarray(queries)
    index.search(asked, NEAREST)
    seconds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        index.search(asked, NEAREST)
        seconds.append(time.perf_counter() - begun)
    # The fastest: what else the machine does makes it slower, and never faster.
    return len(asked) / min(seconds)
