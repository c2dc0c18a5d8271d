"""The sampler `grouped`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from metricforge.errors import DataError, UsageError
from metricforge_standard.miners.batch_hard import BatchHard
from metricforge_standard.samplers._class_balanced import ClassBalanced
from metricforge_standard.samplers._class_index import ClassIndex, Indices
from metricforge_standard.samplers._deal import NONE, deal

USUAL_CLASSES = 16


class Grouped:
    """P x K batches with the classes of one group, e.g. an alphabet or a category: hard negatives.

    A group with too few classes for a batch shares its batches with the next larger group. A class
    with images in several groups counts for the group of its first image.

    Args:
        groups: int64 [N], the group of each image of the train set.
        classes: Classes in a batch (P), 2 or more. Default: all, up to 16.
        per_class: Images of each class in a batch (K), 2 or more.
        groups_per_batch: Groups in a batch (G), each with P / G classes, at least 2; for a loss
            that needs near and far negatives.

    Raises:
        DataError: The dataset has no groups.
    """

    # Classes of one group look alike: a loss of plain distances would fall by shrinking them all.
    default_loss = "triplet:margin=0,soft=1,log=true"

    def __init__(
        self,
        labels: Tensor,
        groups: Tensor | None,
        *,
        classes: int | None = None,
        per_class: int = 4,
        groups_per_batch: int = 1,
    ) -> None:
        if groups is None:
            raise DataError(
                "grouped batches need groups, which this dataset does not have; take hard-triplet, "
                "or a dataset whose classes have groups: omniglot, or a folder of folders."
            )
        self.miner = BatchHard()
        available = len(labels.unique())
        classes = min(available, USUAL_CLASSES) if classes is None else classes
        plain = ClassBalanced(labels, classes=classes, per_class=per_class)
        self._index, self._groups = plain.index, groups_per_batch
        self._classes_per_group = _classes_per_group(classes, groups_per_batch)
        of_class = _group_of_class(self._index, groups)
        self._sets = _sets(of_class, self._classes_per_group)
        self._chunks = plain.chunks
        small = _notes(of_class, self._classes_per_group)
        self.notes = (*plain.small(), *small, *plain.lonely(self._sets))

    def epoch(self, rng: np.random.Generator) -> Iterator[Tensor]:
        """Batches of int64 indices [about P * K] that show every image once."""
        order, chunks = self._index.shuffled(rng), self._chunks
        dealt = [
            deal(chunks.begin[classes], chunks.count[classes], self._classes_per_group, rng)
            for classes in self._sets
        ]
        yield from chunks.laid_out(order, rng.permutation(_joined(dealt, self._groups, rng)))


def _classes_per_group(classes: int, groups: int) -> int:
    """The number of classes of a batch that are of one group."""
    if groups < 1 or classes % groups or classes < 2 * groups:
        raise UsageError(
            f"grouped needs groups_per_batch >= 1 and the same number of classes of each, two or "
            f"more: {groups} groups can't share classes={classes}."
        )
    return classes // groups


def _joined(dealt: list[Indices], groups: int, rng: np.random.Generator) -> Indices:
    """The deals of each set [b, P], joined to batches of several sets [B, groups * P].

    The sets are dealt to the batches as the classes were dealt to the sets.
    """
    count = np.array([len(rows) for rows in dealt])
    free = np.full((1, dealt[0].shape[1]), NONE)
    # The last row, which NONE (-1) indexes.
    rows = np.concatenate([*dealt, free])
    chosen = deal(np.cumsum(count) - count, count, groups, rng)
    return rows[chosen].reshape(len(chosen), -1)


def _group_of_class(index: ClassIndex, groups: Tensor) -> Indices:
    """The group of each class [C], that of its first image."""
    group_of_class: Indices = groups.cpu().numpy()[index.order[index.start]]
    return group_of_class


def _sets(of_class: Indices, least: int) -> list[Indices]:
    """The sets of classes that may meet: of one group, or of several up to `least` classes."""
    _, size = np.unique(of_class, return_counts=True)
    by_group = np.split(np.argsort(of_class, kind="stable"), np.cumsum(size)[:-1])
    sets: list[Indices] = []
    waiting = of_class[:0]
    # Small groups first, so that they fill up each other before they dilute a large one.
    for number in np.argsort(size, kind="stable"):
        waiting = np.concatenate([waiting, by_group[number]])
        if len(waiting) >= least:
            sets.append(waiting)
            waiting = waiting[:0]
    if len(waiting):
        sets[-1:] = [np.concatenate([*sets[-1:], waiting])]
    return sets


def _notes(of_class: Indices, classes: int) -> tuple[str, ...]:
    _, size = np.unique(of_class, return_counts=True)
    small = int((size < classes).sum())
    if not small:
        return ()
    return (
        f"{small} of {len(size)} groups have fewer than classes={classes} classes: they share "
        "batches with the next larger group.",
    )
