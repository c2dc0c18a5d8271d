"""Images that are copies of each other: the same bytes, or the same picture encoded otherwise."""

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

Indices: TypeAlias = NDArray[np.int64]

# With less contrast, i.e. standard deviation of the grey values, differences are noise.
FLAT = 8.0
# Measured on photographs and drawings stored again as JPEG, PNG and WebP at half their size: the
# thumbnails differ by less than this share of the contrast everywhere; those of two drawings of
# one character, which correlate as highly, do not.
MOST_APART = 0.35
LEAST_CORRELATION = 0.99
# Levels between the mean colours of a cell, after a change of brightness and contrast. Measured on
# photographs stored again as above: at most 7; of two that are no copies, at least 33.
MOST_COLOURS_APART = 16
# Levels between red, green and blue in the cells of an image that is grey.
GREY = 6
# The least fraction of pixels of medium grey in a photograph: of a drawing in two tones only its
# edges are. Measured: at most 0.11 in such drawings, 0.21 or more in 99 % of birds.
LEAST_MEDIUM = 0.15
MEDIUM = 0.15, 0.85  # of the range of an image

_BANDS, _AGREEING = 7, 3  # hashes that differ in 4 bits or fewer agree in 3 bands or more
_MOST_BITS = 8
_MANY = 5_000  # fewer can all be compared with each other, however alike their hashes are
_BUDGET = 35 * _MANY**2  # comparisons in all, which limits those of an image with a common hash
_FEWEST = 64
_CHUNK = 16_384


@dataclass(frozen=True, eq=False)
class Likeness:
    """Sets of images that are copies of each other, each the sorted indices of two or more.

    - `identical`: the same bytes, or in a tensor the same pixels.
    - `alike`: the same picture, resized or encoded otherwise, including identical ones.
    - `crowded`: how many images have a hash so common that they were compared with their nearest
      by hash only, so that copies of them may be missed.
    """

    identical: tuple[Indices, ...]
    alike: tuple[Indices, ...]
    crowded: int

    @property
    def sets(self) -> tuple[Indices, ...]:
        """The sets of both kinds, merged: each image that has a copy is in one of them."""
        inside = {int(index) for indices in self.alike for index in indices}
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
    pairs, crowded = _near_pairs(survey, sound[first])
    # Joined by their digests, so that a thousand identical images are compared once.
    joined = _components(len(first), pairs)[digest]
    alike = [same for same in _sets(joined) if len(np.unique(digest[same])) > 1]
    return Likeness(
        identical=tuple(sound[same] for same in _sets(digest)),
        alike=tuple(sound[same] for same in alike),
        crowded=crowded,
    )


def hashes(thumbnails: NDArray[np.uint8], indices: Indices) -> NDArray[np.uint64]:
    """The hash uint64 [n] of the thumbnails at these indices: the signs of 64 random projections.

    The more two thumbnails resemble each other, the fewer bits differ (Charikar 2002). The mean of
    many thumbnails is subtracted first, or most drawings would share a few hashes.
    """
    directions = np.random.default_rng(0).standard_normal((SIDE * SIDE, 64)).astype(np.float32)
    shared = np.zeros(SIDE * SIDE, np.float32)
    if len(indices) > _MANY:
        totals = [_scaled(thumbnails[part]).sum(0, dtype=np.float64) for part in _parts(indices)]
        shared = (np.sum(totals, axis=0) / len(indices)).astype(np.float32).ravel()
    signs = [
        np.packbits((_scaled(thumbnails[part]).reshape(-1, SIDE * SIDE) - shared) @ directions > 0)
        for part in _parts(indices)
    ]
    return np.concatenate(signs).view(np.uint64)


def _near_pairs(survey: Survey, indices: Indices) -> tuple[Indices, int]:
    """Pairs [P, 2] of one picture, as rows of `indices`, and how many images are crowded."""
    thumbnails, colours = survey.thumbnails, survey.colours
    deviations = [thumbnails[part].std((1, 2), dtype=np.float32) for part in _parts(indices)]
    rough = np.flatnonzero(np.concatenate(deviations) >= FLAT)
    candidates = _Candidates(hashes(thumbnails, indices[rough]))
    confirmed = [
        pairs[_confirmed(thumbnails[indices[pairs]], colours[indices[pairs]])]
        for batch in candidates
        for pairs in _parts(rough[batch])
    ]
    pairs = np.concatenate(confirmed) if confirmed else np.empty((0, 2), np.int64)
    return pairs, int(candidates.crowded.sum())


def _parts(rows: Indices) -> list[Indices]:
    """The rows in parts of about _CHUNK."""
    return np.array_split(rows, -(-len(rows) // _CHUNK) or 1)


class _Candidates:
    """Pairs of hashes [N] that differ in few bits; each comes once, in batches [P, 2].

    The hashes are sorted by some of their bands, and each is compared with the next ones that agree
    in these bands.
    """

    def __init__(self, codes: NDArray[np.uint64]) -> None:
        self._codes = codes
        self.crowded = np.zeros(len(codes), dtype=bool)
        ends = np.linspace(0, 64, _BANDS + 1).round().astype(int).tolist()
        self._bands = [np.uint64((1 << end) - (1 << begin)) for begin, end in pairwise(ends)]

    def __iter__(self) -> Iterator[Indices]:
        chosen = list(combinations(range(_BANDS), _AGREEING))
        reach = max(_FEWEST, _BUDGET // (len(chosen) * max(len(self._codes), 1)))
        for bands in chosen:
            yield from self._agreeing(bands, reach)

    def _agreeing(self, bands: Sequence[int], reach: int) -> Iterator[Indices]:
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
        """Whether each pair is close, and these are the first bands in which it agrees."""
        new: NDArray[np.bool_] = np.bitwise_count(differ) <= _MOST_BITS
        for band in range(bands[-1]):
            if band not in bands:
                new &= (differ & self._bands[band]) != 0
        return new


def _confirmed(pairs: NDArray[np.uint8], colours: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each pair of thumbnails [P, 2, SIDE, SIDE] is one picture, perhaps brighter or grey.

    `colours` is [P, 2, 3, CELLS, CELLS]. One cut in two colours is two pictures.
    """
    grey = _scaled(pairs)
    apart = np.abs(grey[:, 0] - grey[:, 1]).max((1, 2))
    correlation = (grey[:, 0] * grey[:, 1]).mean((1, 2))
    same: NDArray[np.bool_] = (apart <= MOST_APART) & (correlation >= LEAST_CORRELATION)
    return same & _of_one_colour(pairs, colours)


def _of_one_colour(pairs: NDArray[np.uint8], colours: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether both of each pair have the same colours, or one of two photographs is grey."""
    cells = colours.astype(np.float32)
    deviation = pairs.std((2, 3), dtype=np.float32)[:, :, None, None, None]
    mean = pairs.mean((2, 3), dtype=np.float32)[:, :, None, None, None]
    # Brightness and contrast are those of the grey values, on the scale of the one with less.
    scaled = (cells - mean) / deviation * deviation.min(1, keepdims=True)
    apart = np.abs(scaled[:, 0] - scaled[:, 1]).max((1, 2, 3))
    is_grey = (cells.max(2) - cells.min(2)).max((2, 3)) <= GREY
    low, high = pairs.min((2, 3), keepdims=True), pairs.max((2, 3), keepdims=True)
    share = (pairs - low) / np.maximum(high - low, 1)
    medium = ((share > MEDIUM[0]) & (share < MEDIUM[1])).mean((2, 3))
    same: NDArray[np.bool_] = np.where(
        is_grey[:, 0] == is_grey[:, 1],
        apart <= MOST_COLOURS_APART,
        (medium >= LEAST_MEDIUM).all(1),
    )
    return same


def _scaled(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnails [..., SIDE, SIDE] of mean 0 and deviation 1."""
    grey = thumbnails.astype(np.float32)
    grey -= grey.mean((-2, -1), keepdims=True)
    grey /= grey.std((-2, -1), keepdims=True)
    return grey


def _components(count: int, pairs: Indices) -> NDArray[np.int32]:
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    component: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return component


def _sets(labels: NDArray[np.integer]) -> list[Indices]:
    """The indices of each label that has two or more, in the order of their first."""
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return sorted((group for group in groups if len(group) > 1), key=lambda group: int(group[0]))
