"""Embeddings moved and scaled so that float32 has digits for their distances, if it can."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from metricforge.errors import DivergedError, few

Floats: TypeAlias = NDArray[np.floating[Any]]

# Rows by which the precision that distances need is measured, in runs of so many.
SAMPLED, RUN, SAMPLED_QUERIES = 20_000, 1_000, 256
# Where so many of them have two others too near, float32 is too coarse. One alone is no rival.
DENSE = 0.02
# A squared distance should be so many times the rounding of the longest row.
DIGITS = 100
# Squared distances below this fraction of the longest row's are of copies, in float64.
COPIES = 1e-13
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


def needs_float64(points: NDArray[np.float32]) -> bool:
    """Whether some rows have neighbours so near, compared with the longest row, that |y|^2 - 2 x.y
    in float32 has too few digits to tell one from another.

    This is so of centred rows in groups that are far apart, of dense groups among others, or with
    some rows far outside. Measured on a sample; exact copies don't count.
    """
    sample = _runs(points).astype(np.float64)
    if len(sample) < 3:
        return False
    lengths = np.square(sample).sum(axis=1)
    longest = float(np.einsum("nd,nd->n", points, points).max())
    rows = np.linspace(0, len(sample) - 1, min(SAMPLED_QUERIES, len(sample))).astype(np.int64)
    squared = lengths[rows, None] + lengths - 2 * sample[rows] @ sample.T
    squared[squared < longest * COPIES] = np.inf
    second = np.partition(squared, 1, axis=1)[:, 1]
    return bool((second < longest * DIGITS * np.finfo(np.float32).eps).mean() >= DENSE)


def _runs(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Some runs of points, evenly among them: rows that are alike often lie side by side."""
    if len(points) <= SAMPLED:
        return points
    begins = np.linspace(0, len(points) - RUN, SAMPLED // RUN).astype(np.int64)
    return np.concatenate([points[begin : begin + RUN] for begin in begins])


def refuse_not_finite(points: Floats) -> None:
    """Raise DivergedError, with the first such rows, for NaN or infinity in points [N, D]."""
    rows = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(rows):
        raise DivergedError(
            f"{len(rows)} of {len(points)} embeddings are NaN or infinite (rows "
            f"{few(rows.tolist())}): the model has diverged; train it with a smaller learning rate "
            "or in float32."
        )
