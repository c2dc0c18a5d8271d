"""What a page shows of one embedding of the images: maps of it, and the neighbours of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricforge.evaluation import Ints, neighbours
from metricforge.evaluation.statistics import Doubles

NEAREST = 8
MOST_BY_TSNE = 5_000
"""Images up to which t-SNE makes a map, in about half a minute on two cores."""

COMPONENTS = 50
"""Principal components that t-SNE gets (van der Maaten and Hinton 2008, section 4.1)."""

PERPLEXITY = 30.0
"""Of t-SNE, as scikit-learn has it by default."""


@dataclass(frozen=True)
class Space:
    """One embedding of N images.

    Args:
        name: Whose it is, e.g. "trained".
        maps: float32 [N, 2] by the name of the method, within -1 to 1.
        nearest: int32 [N, K], the K nearest others of each, nearest first.
        distances: float32 [N, K], their euclidean distances.
        from_class: float32 [N], the distance to the mean of the other images of the class; NaN for
            the only one.
    """

    name: str
    maps: Mapping[str, NDArray[np.float32]]
    nearest: NDArray[np.int32]
    distances: NDArray[np.float32]
    from_class: NDArray[np.float32]

    @classmethod
    def of(cls, name: str, rows: NDArray[np.float32], labels: Ints) -> Space:
        """The space of embeddings [N, D], two or more, whose classes are int64 [N]."""
        found = [nearest for _, nearest in neighbours(rows, NEAREST)]
        nearest = np.concatenate(found).astype(np.int32)
        points = rows.astype(np.float64)
        distances = np.stack(
            [np.linalg.norm(points - points[column], axis=1) for column in nearest.T], axis=1
        )
        return cls(
            name,
            maps_of(points),
            nearest,
            distances.astype(np.float32),
            distance_from_class(points, labels).astype(np.float32),
        )


def maps_of(points: Doubles) -> dict[str, NDArray[np.float32]]:
    """Maps of points [N, D] by the names of their methods, the best to look at first."""
    components = principal(points)
    maps = {"PCA": components[:, :2]}
    if 3 < len(points) <= MOST_BY_TSNE:
        maps = {"t-SNE": by_tsne(components), **maps}
    return {name: within_one(places) for name, places in maps.items()}


def principal(points: Doubles) -> Doubles:
    """The first principal components [N, COMPONENTS] or fewer, two at least."""
    centred = points - points.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    components = centred @ axes[:, ::-1][:, :COMPONENTS]
    missing = max(0, 2 - components.shape[1])
    return np.pad(components, ((0, 0), (0, missing)))


def by_tsne(components: Doubles) -> Doubles:
    """A map by t-SNE; the same points give the same map on one machine."""
    from sklearn.manifold import TSNE

    # Three neighbours for a unit of perplexity, of which there must be as many.
    perplexity = min(PERPLEXITY, (len(components) - 1) / 3)
    method = TSNE(perplexity=perplexity, init="pca", random_state=0)
    return np.asarray(method.fit_transform(components.astype(np.float32)), dtype=np.float64)


def within_one(places: Doubles) -> NDArray[np.float32]:
    """Places [N, 2] moved and scaled to lie within -1 and 1, both axes alike."""
    middle = (places.max(axis=0) + places.min(axis=0)) / 2
    half = np.abs(places - middle).max()
    return np.asarray((places - middle) / (half or 1), dtype=np.float32)


def distance_from_class(points: Doubles, labels: Ints) -> Doubles:
    """The distance of each point [N, D] to the mean of the others of its class; NaN if alone."""
    _, of_class, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), points.shape[1]))
    np.add.at(sums, of_class, points)
    others = counts[of_class] - 1.0
    others[others == 0] = np.nan
    means = (sums[of_class] - points) / others[:, None]
    return np.asarray(np.linalg.norm(points - means, axis=1))
