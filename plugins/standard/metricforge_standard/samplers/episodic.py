"""The sampler `episodic`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from metricforge.errors import DataError, UsageError
from metricforge_standard.miners.whole_batch import WholeBatch
from metricforge_standard.samplers._class_balanced import USUAL_CLASSES, ClassBalanced
from metricforge_standard.samplers._class_index import ClassIndex, have


class Episodic:
    """Each batch is an N-way K-shot episode, for prototypes (Snell 2017).

    Of each class, the first `shot` images of the batch are its support and the others are queries,
    as the loss `prototypical` takes them. An epoch shows every image exactly once. To do so it
    varies the number of queries; only a class with too few images has none. Training with more ways
    than at test time is reported to help: Snell et al. train 60-way.

    Args:
        way: Classes in an episode, 2 or more. Default: all, up to 32.
        shot: Support images of each class, 1 or more.
        queries: Query images of each class, 1 or more; about as many where the images of a class
            are no multiple of `shot` + `queries`.

    Reference: Snell et al., Prototypical Networks for Few-shot Learning, 2017.
    """

    def __init__(
        self, labels: Tensor, *, way: int | None = None, shot: int = 1, queries: int = 3
    ) -> None:
        if (way is not None and way < 2) or shot < 1 or queries < 1:
            raise UsageError("episodic needs way >= 2, shot >= 1 and queries >= 1.")
        self.miner = WholeBatch()
        self.default_loss = f"prototypical:shot={shot}"
        available = len(ClassIndex.of(labels).size)
        way = min(available, USUAL_CLASSES) if way is None else way
        if way > available:
            raise DataError(
                f"episodic needs {way} ways and the train set has {available} classes; set "
                f"way={available} or less."
            )
        # `least` leaves each class of an episode a query, however its images are cut.
        self._batches = ClassBalanced(labels, classes=way, per_class=shot + queries, least=shot + 1)
        small = _notes(self._batches.index, shot, queries)
        self.notes = (*small, *self._batches.lonely([np.arange(available)]))

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [about way * (shot + queries)], each image once."""
        return self._batches.epoch(rng)


def _notes(index: ClassIndex, shot: int, queries: int) -> tuple[str, ...]:
    unasked, small = index.smaller_than(shot + 1), index.smaller_than(shot + queries)
    notes = []
    if unasked:
        notes.append(f"{have(unasked)} no more than shot={shot} images: no queries.")
    if small > unasked:
        notes.append(
            f"{have(small - unasked)} fewer than shot + queries = {shot + queries} images, which "
            "all come at once."
        )
    return tuple(notes)
