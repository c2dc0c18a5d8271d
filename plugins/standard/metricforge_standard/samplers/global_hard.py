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

    Between epochs it searches the embeddings of all images for the nearest images of other classes.
    The batches of the next epoch bring together images that are too near. The first epoch is
    random. The miner is `paced-hard`.

    An image in the midst of another class, or at the same point as an image of another class, may
    have a wrong label. It is shown like any other, but brings no images into its batch. `suspected`
    has these images after each `refresh`. To detect one in the midst of another class requires 4
    neighbours, and 4 other images of its own class.

    Args:
        classes: Classes in a batch (P), 2 or more. Default: all, up to 32.
        per_class: Images of each class in a batch (K), 2 or more.
        hard: Fraction of a batch that is chosen by confusion, 0 to 1; the rest is random.
        neighbours: Nearest images of other classes to search for each image, 1 or more; 4 or more
            detect mislabelled images.
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
        """Find the images that are confused, from the embeddings [N, D] of the train set."""
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
    """A note on classes that are too small to detect mislabelled images in."""
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
