"""Which images are copies of each other: the same bytes, or the same picture stored otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from metricforge.inspection.survey import SIDE, Survey

Places: TypeAlias = NDArray[np.int64]

# Where the contrast, the deviation of the grey values, is smaller, what differs is noise.
FLAT = 8.0
# Measured on photographs and drawings stored again as JPEG, PNG and WebP at half their size: the
# thumbnails differ by less than this share of the contrast everywhere; those of two drawings of
# one character, which correlate as highly, do not.
MOST_APART = 0.35
LEAST_CORRELATION = 0.99

_BANDS, _AGREEING = 7, 3  # hashes that differ in 4 bits or fewer agree in 3 bands or more
_MOST_BITS = 8
_MANY = 5_000  # fewer can all be compared with each other, however alike their hashes are
_BUDGET = 35 * _MANY**2  # comparisons in all, of which an image with a common hash has its share
_FEWEST = 64
_CHUNK = 16_384


@dataclass(frozen=True, eq=False)
class Likeness:
    """Sets of images that are copies of each other, each the sorted places of two or more.

    - `identical`: the same bytes, or in a tensor the same pixels.
    - `alike`: the same picture, resized or encoded otherwise, with the identical ones among them.
    - `crowded`: how many images have a hash so common that they were compared with their nearest
      by hash only, so that copies of them may be missed.
    """

    identical: tuple[Places, ...]
    alike: tuple[Places, ...]
    crowded: int

    @property
    def sets(self) -> tuple[Places, ...]:
        """Every image that has a copy of either kind, once, with all of its copies."""
        inside = {int(place) for places in self.alike for place in places}
        return (*self.alike, *(same for same in self.identical if int(same[0]) not in inside))


def likeness(survey: Survey) -> Likeness:
    """The copies among the images of a survey; broken images have none.

    Hashes of the thumbnails find the pairs, and the thumbnails themselves confirm them. Images
    without contrast are copies only where they are identical. Takes time that grows with N, not
    with N^2.
    """
    sound = survey.sound
    _, first, digest = np.unique(
        survey.digests[sound], axis=0, return_index=True, return_inverse=True
    )
    digest = digest.reshape(-1)
    pairs, crowded = _near_pairs(survey.thumbnails, sound[first])
    # Joined by their digests, so that a thousand identical images are compared once.
    joined = _components(len(first), pairs)[digest]
    alike = [same for same in _sets(joined) if len(np.unique(digest[same])) > 1]
    return Likeness(
        identical=tuple(sound[same] for same in _sets(digest)),
        alike=tuple(sound[same] for same in alike),
        crowded=crowded,
    )


def hashes(thumbnails: NDArray[np.uint8], places: Places) -> NDArray[np.uint64]:
    """The hash uint64 [n] of the thumbnails at these places: 64 random projections, signs only.

    The more two thumbnails resemble each other, the fewer bits differ (Charikar 2002). Of many,
    what all of them share is taken off first, or most drawings would have few hashes between them.
    """
    directions = np.random.default_rng(0).standard_normal((SIDE * SIDE, 64)).astype(np.float32)
    shared = np.zeros(SIDE * SIDE, np.float32)
    if len(places) > _MANY:
        totals = [_scaled(thumbnails[part]).sum(0, dtype=np.float64) for part in _parts(places)]
        shared = (np.sum(totals, axis=0) / len(places)).astype(np.float32).ravel()
    signs = [
        np.packbits((_scaled(thumbnails[part]).reshape(-1, SIDE * SIDE) - shared) @ directions > 0)
        for part in _parts(places)
    ]
    return np.concatenate(signs).view(np.uint64)


def _near_pairs(thumbnails: NDArray[np.uint8], places: Places) -> tuple[Places, int]:
    """Pairs [P, 2] of one picture, by their rows in `places`, and how many images are crowded."""
    deviations = [thumbnails[part].std((1, 2), dtype=np.float32) for part in _parts(places)]
    rough = np.flatnonzero(np.concatenate(deviations) >= FLAT)
    candidates = _Candidates(hashes(thumbnails, places[rough]))
    found = [
        pairs[_confirmed(thumbnails[places[pairs]])]
        for batch in candidates
        for pairs in _parts(rough[batch])
    ]
    pairs = np.concatenate(found) if found else np.empty((0, 2), np.int64)
    return pairs, int(candidates.crowded.sum())


def _parts(rows: Places) -> list[Places]:
    """The same rows in parts of about _CHUNK."""
    return np.array_split(rows, -(-len(rows) // _CHUNK) or 1)


class _Candidates:
    """Pairs of hashes [N] that differ in few bits; each comes once, in batches [P, 2].

    The hashes are sorted by some of their bands, and each is compared with those that follow it
    and agree in these.
    """

    def __init__(self, codes: NDArray[np.uint64]) -> None:
        self._codes = codes
        self.crowded = np.zeros(len(codes), dtype=bool)
        ends = np.linspace(0, 64, _BANDS + 1).round().astype(int).tolist()
        self._bands = [np.uint64((1 << end) - (1 << begin)) for begin, end in pairwise(ends)]

    def __iter__(self) -> Iterator[Places]:
        chosen = list(combinations(range(_BANDS), _AGREEING))
        reach = max(_FEWEST, _BUDGET // (len(chosen) * max(len(self._codes), 1)))
        for bands in chosen:
            yield from self._agreeing(bands, reach)

    def _agreeing(self, bands: Sequence[int], reach: int) -> Iterator[Places]:
        mask = np.bitwise_or.reduce([self._bands[band] for band in bands])
        keys = self._codes & mask
        order = np.lexsort((self._codes, keys))
        keys, codes = keys[order], self._codes[order]
        begins = np.arange(len(order))
        for ahead in range(1, reach + 2):
            begins = begins[: np.searchsorted(begins, len(order) - ahead)]
            begins = begins[keys[begins] == keys[begins + ahead]]
            if not len(begins):
                return
            if ahead > reach:
                self.crowded[order[begins]] = True
                return
            new = begins[self._is_new(codes[begins] ^ codes[begins + ahead], bands)]
            if len(new):
                yield np.stack((order[new], order[new + ahead]), axis=1)

    def _is_new(self, differ: NDArray[np.uint64], bands: Sequence[int]) -> NDArray[np.bool_]:
        """Whether a pair is close, and these are the first bands in which it agrees."""
        new: NDArray[np.bool_] = np.bitwise_count(differ) <= _MOST_BITS
        for band in range(bands[-1]):
            if band not in bands:
                new &= (differ & self._bands[band]) != 0
        return new


def _confirmed(pairs: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pairs of thumbnails [P, 2, SIDE, SIDE] show the same, whatever their brightness."""
    grey = _scaled(pairs)
    apart = np.abs(grey[:, 0] - grey[:, 1]).max((1, 2))
    correlation = (grey[:, 0] * grey[:, 1]).mean((1, 2))
    same: NDArray[np.bool_] = (apart <= MOST_APART) & (correlation >= LEAST_CORRELATION)
    return same


def _scaled(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnails [..., SIDE, SIDE] of mean 0 and deviation 1."""
    grey = thumbnails.astype(np.float32)
    grey -= grey.mean((-2, -1), keepdims=True)
    grey /= grey.std((-2, -1), keepdims=True)
    return grey


def _components(count: int, pairs: Places) -> NDArray[np.int32]:
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    component: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return component


def _sets(labels: NDArray[np.integer]) -> list[Places]:
    """The places of each label that has more than one, in the order of their first."""
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return sorted((group for group in groups if len(group) > 1), key=lambda group: int(group[0]))
