"""Score normalisation: how near an image is to images of a cohort, which are of no class asked for.

An image of a crowded part of the space is near to everything. What its distance to a class says is
seen beside its distance to other images there.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from metricforge.evaluation.centring import middle
from metricforge.evaluation.flat_search import search_flat
from metricforge.evaluation.statistics import Doubles

NEAREST = 50
"""Of a cohort the images that are near count: an adaptive one. 20 to 100 do about as well, see
benchmarks/identification-ledger.md."""


class Cohort:
    """Embeddings float32 [M, D] of images that are of no class asked for.

    Reference: Auckenthaler et al., Score Normalization for Text-Independent Speaker Verification
        Systems, 2000 (T-norm); Matejka et al., Analysis of Score Normalization in Multilingual
        Speaker Recognition, 2017 (adaptive cohorts). Of these the mean alone is taken, which
        changes no rank.
    """

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.rows = rows

    @cached_property
    def _index(self) -> tuple[Any, Doubles]:
        centre = middle(self.rows)
        index = faiss.IndexFlatL2(self.rows.shape[1])
        index.add(np.ascontiguousarray(self.rows - centre, dtype=np.float32))
        return index, centre

    def distances(self, points: NDArray[Any]) -> Doubles:
        """The mean distance of each of the points [N, D] to its nearest images, float64 [N]."""
        index, centre = self._index
        rows = np.ascontiguousarray(points - centre, dtype=np.float32)
        squared, _ = search_flat(index, rows, min(NEAREST, len(self.rows)))
        return np.asarray(np.sqrt(squared.clip(min=0).astype(np.float64)).mean(axis=1))
