"""The sampler `global-hard`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metricforge.errors import UsageError
from metricforge_standard.miners.paced_hard import PacedHard
from metricforge_standard.samplers._class_balanced import ClassBalanced
from metricforge_standard.samplers._class_index import ClassIndex, Indices, have
from metricforge_standard.samplers._confusion import EVIDENCE, NOBODY, Confusion, Suspects
from metricforge_standard.samplers._gathering import gathered


class GlobalHard:
    """P x K batches of images that the network confuses right now, over the whole train set.

    Between epochs, the nearest images of other classes are looked up among the embeddings of all
    images, as they are by then; the next epoch's batches bring together those that are too near.
    `classes` is P (default: all, up to 32), `per_class` is K; `hard` is the share of a batch that
    is chosen so, the rest is random; `neighbours` is how many are looked up of each image.

    An image that lies in the midst of another class, or where an image of another class does,
    may have a wrong label: it is shown as any other, but does not choose. `suspected` has them
    after each `refresh`. To find one in the midst of another class takes 4 neighbours, and 4 other
    images of its own. The first epoch is random.

    Triplets are paced, see the miner `paced-hard`.
    """

    default_loss = "triplet"

    def __init__(
        self,
        labels: Tensor,
        *,
        classes: int | None = None,
        per_class: int = 4,
        hard: float = 0.5,
        neighbours: int = 10,
    ) -> None:
        if not 0 <= hard <= 1 or neighbours < 1:
            raise UsageError("global-hard needs hard between 0 and 1, and neighbours >= 1.")
        self.miner = PacedHard()
        self.hard, self.neighbours = hard, neighbours
        self.suspected = Suspects.none()
        self._batches = ClassBalanced(labels, classes=classes, per_class=per_class)
        self.notes = (*self._batches.notes, *_unguarded(self._batches.index, neighbours))
        self._labels = np.unique(labels.cpu().numpy(), return_inverse=True)[1]
        self._confusion: Confusion | None = None

    def refresh(self, embeddings: Tensor) -> None:
        """Find out who is confused with whom, from the embeddings [N, D] of the train set."""
        rows = embeddings.detach().float().cpu().numpy()
        self._confusion = Confusion.of(rows, self._labels, self.neighbours)
        self.suspected = self._confusion.suspects

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [about P * K] that show every image once.

        A function of `rng` and of the embeddings of the last `refresh`.
        """
        order, dealt = self._batches.deal(rng)
        if self._confusion is not None:
            dealt = self._gathered(order, dealt, self._confusion.neighbours, rng)
        yield from self._batches.chunks.laid_out(order, dealt)

    def _gathered(
        self,
        order: Indices,
        dealt: Indices,
        neighbours: NDArray[np.int32],
        rng: np.random.Generator,
    ) -> Indices:
        chunks = self._batches.chunks
        chunk_of = np.empty(len(order), dtype=np.int64)
        chunk_of[order] = np.repeat(np.arange(len(chunks.first)), chunks.length)

        def confused(chunk: int) -> list[int]:
            first = chunks.first[chunk]
            near = neighbours[order[first : first + chunks.length[chunk]]].T
            return list(dict.fromkeys(chunk_of[near[near != NOBODY]].tolist()))

        return gathered(dealt, chunks.of_class, confused, self.hard, rng)


def _unguarded(index: ClassIndex, neighbours: int) -> tuple[str, ...]:
    """A note on classes whose mislabelled images can never be told from confused ones."""
    if neighbours < EVIDENCE:
        return (
            f"neighbours={neighbours} is too few to tell mislabelled images; set "
            f"neighbours={EVIDENCE} or more.",
        )
    small = index.smaller_than(EVIDENCE + 1)
    if not small:
        return ()
    return (
        f"{have(small)} fewer than {EVIDENCE + 1} images: too few to tell which of them "
        "are mislabelled.",
    )
