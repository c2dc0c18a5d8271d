"""Embeddings moved and scaled so that float32 has digits for their distances, if it can."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from metricforge.errors import DivergedError, few

Floats: TypeAlias = NDArray[np.floating[Any]]

# Rows that are sorted to find the middle of all.
SAMPLED_FOR_MIDDLE = 4_096
# The square of a row that is smaller than this, beside the longest of 1, is near float32's least.
FAR = 2.0**-60


def centred(embeddings: Floats) -> NDArray[np.float32]:
    """Embeddings moved and scaled to a middle near 0 and a size near 1.

    Neither changes which of two distances is larger, and both keep precision: faiss expands |x -
    y|^2, which loses the digits of a small distance far from the origin and overflows for large
    embeddings (a neighbour is then lost without an error). Equal rows stay equal. The middle is
    that of each component, not the mean: one row far out would take the mean with it.

    Args:
        embeddings: [N, D].

    Returns:
        float32 [N, D].

    Raises:
        DivergedError: A row has NaN or infinity, or is so far out that float32 has no room for the
            distances of the others; the error has the first such rows.
    """
    points = np.ascontiguousarray(embeddings, dtype=np.float32)
    refuse_not_finite(points)
    if points.size == 0:
        return points
    points = _sized(points)
    points = _sized(points - middle(points).astype(np.float32))
    _refuse_far_out(points)
    return points


def middle(points: Floats) -> NDArray[np.float64]:
    """The median [D] of each component of points [N, D], of some evenly among them."""
    step = -(-len(points) // SAMPLED_FOR_MIDDLE)
    return np.asarray(np.median(points[::step], axis=0), dtype=np.float64)


def _refuse_far_out(points: NDArray[np.float32]) -> None:
    sizes = np.abs(points).max(axis=1)
    if not sizes.any() or np.median(sizes[sizes > 0]) >= FAR:
        return
    rows = np.flatnonzero(sizes > np.sqrt(FAR))
    raise DivergedError(
        f"{len(rows)} of {len(points)} embeddings (rows {few(rows.tolist())}) lie more than a "
        "billion billion times as far out as others, whose distances have no digits beside them: "
        "leave out rows that stand for a missing embedding."
    )


def _sized(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points divided by a power of two, which rounds nothing, so that the largest is near 1."""
    _, exponent = np.frexp(np.abs(points).max())
    sized: NDArray[np.float32] = np.ldexp(points, -exponent)
    return sized


def refuse_not_finite(points: Floats) -> None:
    """Raise DivergedError, with the first such rows, for NaN or infinity in points [N, D]."""
    rows = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(rows):
        raise DivergedError(
            f"{len(rows)} of {len(points)} embeddings are NaN or infinite (rows "
            f"{few(rows.tolist())}): the model has diverged; train it with a smaller learning rate "
            "or in float32."
        )
