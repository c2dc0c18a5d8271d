"""N-way K-shot episodes: classify images of N unseen classes from K labelled images of each.

Shapes: E episodes of W ways (classes), S support images (shots) and Q queries of each class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metricforge.errors import DataError
from metricforge.evaluation.centring import Floats, centred
from metricforge.evaluation.neighbor_search import Ints

Classifier: TypeAlias = Literal["prototype", "nearest"]

# About 64 MB of float64.
ENTRIES_PER_TILE = 8_000_000


@dataclass(frozen=True)
class Episodes:
    """Rows of the images of each episode, class by class: query block w belongs to support w.

    Args:
        support: int64 [E, W, S].
        queries: int64 [E, W * Q].
    """

    support: Ints
    queries: Ints

    @property
    def way(self) -> int:
        """W, the classes in an episode."""
        return int(self.support.shape[1])


def eligible(labels: Ints, images: int) -> Ints:
    """The classes with at least so many images.

    Args:
        labels: int64 [N].
        images: Images that a class needs.

    Returns:
        int64, ascending.
    """
    classes, counts = np.unique(labels, return_counts=True)
    return np.asarray(classes[counts >= images], dtype=np.int64)


def draw(
    labels: Ints,
    *,
    way: int,
    shot: int,
    queries: int,
    episodes: int,
    seed: int = 0,
    groups: Ints | None = None,
) -> Episodes:
    """Draw episodes of distinct classes, and distinct images of them.

    Only classes with shot + queries images take part, each equally often. The same labels and seed
    give the same episodes.

    With `groups` the classes of an episode are all of one group. A class belongs to the group of
    its first image. Groups of fewer than `way` classes are excluded, and each of the others comes
    equally often.

    Args:
        labels: int64 [N].
        way: Classes in an episode, 1 or more.
        shot: Labelled images of each class, 1 or more.
        queries: Queries of each class, 1 or more.
        episodes: Number of episodes, 1 or more.
        seed: Seed of the draws.
        groups: int64 [N], or None: classes of all groups together.

    Returns:
        The episodes, as rows of the labels.

    Raises:
        DataError: There are fewer such classes than `way`.
    """
    classes = eligible(labels, shot + queries)
    if len(classes) < way:
        raise _too_few(labels, way, shot, queries, len(classes))
    rng = np.random.default_rng(seed)
    chosen = _classes(classes, _group_of(classes, labels, groups), way, episodes, rng)
    by_class = np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[by_class], chosen, side="left")
    beyond = np.searchsorted(labels[by_class], chosen, side="right")
    offsets = _distinct(rng, beyond - first, shot + queries)
    rows = by_class[first[:, None] + offsets].reshape(episodes, way, shot + queries)
    return Episodes(rows[:, :, :shot], rows[:, :, shot:].reshape(episodes, way * queries))


def _group_of(classes: Ints, labels: Ints, groups: Ints | None) -> Ints:
    """The group of each class [C]; one group for all without groups.

    Raises DataError for a class with images of several groups.
    """
    if groups is None:
        return np.zeros_like(classes)
    known, first = np.unique(labels, return_index=True)
    of_class = groups[first]
    across = np.unique(labels[of_class[np.searchsorted(known, labels)] != groups])
    if len(across):
        raise DataError(
            f"{len(across)} of {len(known)} classes have images of several groups, so that no "
            "episode is within one; leave out within=group, or give each class one group."
        )
    return of_class[np.searchsorted(known, classes)]


def _classes(classes: Ints, group: Ints, way: int, episodes: int, rng: np.random.Generator) -> Ints:
    """The classes of the episodes, flat [E * W]; those of an episode are of one group."""
    by_group = np.argsort(group, kind="stable")
    sizes = np.unique(group, return_counts=True)[1]
    starts = np.cumsum(sizes) - sizes
    large = np.flatnonzero(sizes >= way)
    if len(large) == 0:
        raise DataError(
            f"{way}-way episodes within a group need a group of {way} classes with images "
            f"enough; the largest of {len(sizes)} has {sizes.max()}: ask for fewer ways."
        )
    # In turn, so that the groups are drawn equally often.
    drawn = large[np.arange(episodes) % len(large)]
    positions = _distinct(rng, sizes[drawn], way) + starts[drawn, None]
    return np.asarray(classes[by_group[positions]].ravel(), dtype=np.int64)


def score(embeddings: Floats, episodes: Episodes, classifier: Classifier) -> NDArray[np.float64]:
    """The accuracy of each episode.

    `prototype` answers with the class whose mean support embedding is nearest (Snell 2017),
    `nearest` with the class of the nearest support image; both by euclidean distance.

    Args:
        embeddings: [N, D].
        episodes: Rows of the embeddings.
        classifier: "prototype" or "nearest".

    Returns:
        float64 [E].

    Raises:
        DivergedError: An embedding is NaN or infinite.

    Reference: Snell, Swersky & Zemel 2017, Prototypical networks for few-shot learning.
    """
    # In float64 |x|^2 - 2xy resolves the differences that float32 embeddings can have.
    points = torch.from_numpy(centred(embeddings)).double()
    count, way, shot = episodes.support.shape
    query_count = episodes.queries.shape[1]
    step = max(1, ENTRIES_PER_TILE // ((way * shot + query_count) * max(1, points.shape[1])))
    truth = torch.arange(way).repeat_interleave(query_count // way)
    tiles = [
        _answers(
            points[torch.from_numpy(episodes.support[start : start + step])],
            points[torch.from_numpy(episodes.queries[start : start + step])],
            classifier,
        )
        .eq(truth)
        .double()
        .mean(dim=1)
        for start in range(0, count, step)
    ]
    return np.asarray(torch.cat(tiles).numpy(), dtype=np.float64)


def _answers(support: Tensor, queries: Tensor, classifier: Classifier) -> Tensor:
    """The predicted class [E, W * Q] of each query; support [E, W, S, D], queries [E, W * Q, D].

    A tie goes to the class that was drawn first, whichever class the query is of. Classes are drawn
    in random order: a model that maps all images to one point scores exactly chance.
    """
    shot = 1 if classifier == "prototype" else support.shape[2]
    known = support.mean(dim=2) if classifier == "prototype" else support.flatten(1, 2)
    # argmin |q - s|^2 = argmax q.s - |s|^2 / 2
    closeness = torch.baddbmm(
        known.square().sum(dim=2)[:, None, :], queries, known.transpose(1, 2), beta=-0.5
    )
    return closeness.argmax(dim=2) // shot


def _distinct(rng: np.random.Generator, sizes: Ints, count: int) -> Ints:
    """Uniform draws without replacement: row m holds `count` of range(sizes[m]), in any order."""
    drawn = np.empty((len(sizes), count), dtype=np.int64)
    for index in range(count):
        # The r-th number not drawn yet: skip each smaller number that is drawn.
        value = rng.integers(0, sizes - index)
        for earlier in np.sort(drawn[:, :index], axis=1).T:
            value += value >= earlier
        drawn[:, index] = value
    return drawn


def _too_few(labels: Ints, way: int, shot: int, queries: int, available: int) -> DataError:
    counts = np.unique(labels, return_counts=True)[1]
    largest = int(counts.max(initial=0))
    return DataError(
        f"{way}-way {shot}-shot episodes with {queries} queries need {way} classes of at least "
        f"{shot + queries} images; {available} of these {len(counts)} classes have that many (the "
        f"largest has {largest}): ask for fewer ways, shots or queries, or hold out more classes."
    )
