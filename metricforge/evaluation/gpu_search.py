"""Search by a GPU, if there is one: all distances of a tile, and the k lowest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
T = TypeVar("T")

# Distances in a tile, 256 MB.
ENTRIES_PER_TILE = 2**26


def search_device() -> torch.device | None:
    """The GPU to search with; None if the process uses none, e.g. with `--device cpu`."""
    return torch.device("cuda") if torch.cuda.is_initialized() else None


def lowest(
    device: torch.device,
    queries: Floats,
    own: Ints,
    gallery: Floats,
    k: int,
    then: Callable[[slice, Ints], T],
    most: int,
) -> Iterator[T]:
    """As :func:`.exact_search.deepest`, on a device, with at most `most` queries a tile.

    The device decides which of equal distances comes first; this depends on their indices alone.
    """
    known = torch.from_numpy(gallery).to(device)
    norms = torch.linalg.vecdot(known, known)
    step = max(1, min(most, ENTRIES_PER_TILE // max(1, len(gallery))))
    for begin in range(0, len(queries), step):
        part = slice(begin, min(begin + step, len(queries)))
        distances: Any = torch.addmm(
            norms, torch.from_numpy(queries[part]).to(device), known.T, alpha=-2
        )
        inside = np.flatnonzero(own[part] >= 0)
        rows, columns = (torch.from_numpy(at).to(device) for at in (inside, own[part][inside]))
        distances[rows, columns] = torch.inf
        nearest = distances.topk(k, dim=1, largest=False, sorted=True).indices
        yield then(part, nearest.cpu().numpy())
