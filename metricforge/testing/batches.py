"""The embeddings and labels of the checks of miners and losses: usual and odd batches."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from metricforge.testing.checks import on_input
from metricforge.testing.sampler.train_sets import unit_rows

CLASSES = 6
DIM = 8


@dataclass(frozen=True)
class Batch:
    """Embeddings [B, 8] with labels [B] in 0 .. 5; an odd batch may be refused."""

    name: str
    embeddings: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    odd: bool = False

    def as_input(self) -> AbstractContextManager[None]:
        """A block whose failures name this batch."""
        return on_input(self.name, self.odd)

    def to(self, target: Any) -> Batch:
        """The same batch in another dtype or on another device; labels keep their dtype."""
        labels = self.labels if isinstance(target, torch.dtype) else self.labels.to(target)
        return Batch(f"{self.name}, {target}", self.embeddings.to(target), labels, self.odd)


def random_batch(count: int = 16, classes: int = 4, seed: int = 5) -> Batch:
    """Random unit embeddings of `classes` classes in turn."""
    name = f"{count} random embeddings of {classes} classes"
    return Batch(name, unit_rows(count, seed, DIM), torch.arange(count) % classes)


def large(count: int) -> Batch:
    """A batch for measuring: so many images, eight a class."""
    rows = unit_rows(count, 11, DIM)
    return Batch(f"{count} embeddings", rows, torch.arange(count) % max(1, count // 8))


def not_a_number() -> tuple[Batch, ...]:
    """Batches with NaN and infinity in one row, and in all."""
    whole = random_batch()
    row, infinite = whole.embeddings.clone(), whole.embeddings.clone()
    row[3] = torch.nan
    infinite[3, 0] = torch.inf
    every = torch.full_like(row, torch.nan)
    return (
        Batch("a row of NaN", row, whole.labels, odd=True),
        Batch("a row with infinity", infinite, whole.labels, odd=True),
        Batch("NaN everywhere", every, whole.labels, odd=True),
    )


_ROWS = random_batch().embeddings
_LABELS = random_batch().labels

RANDOM = random_batch()
TIED = Batch("embeddings that are all the same", _ROWS[:1].expand(16, DIM).contiguous(), _LABELS)
DOUBLED = Batch(
    "each row twice", _ROWS[:8].repeat_interleave(2, 0), _LABELS[:8].repeat_interleave(2)
)
CROSSED = Batch("equal rows of different classes", _ROWS[:8].repeat(2, 1), torch.arange(16) // 4)
ORIGIN = Batch("embeddings that are all zero", torch.zeros(16, DIM), _LABELS)
SINGLES = Batch("two classes of one image", _ROWS, torch.tensor([0, 1] + [2, 3] * 7))
APART = Batch("every image of its own class", _ROWS[:CLASSES], torch.arange(CLASSES), odd=True)
SINGLE_CLASS = Batch("a single class", _ROWS, torch.zeros(16, dtype=torch.int64), odd=True)
LARGE = Batch("rows as long as a million", _ROWS * 1e6, _LABELS)
LONG = Batch("rows of length ten", _ROWS * 10, _LABELS)
PAIR = Batch("two images of a class", _ROWS[:2], torch.zeros(2, dtype=torch.int64), odd=True)
STRANGERS = Batch("two images of two classes", _ROWS[:2], torch.arange(2), odd=True)
ALONE = Batch("one image", _ROWS[:1], torch.zeros(1, dtype=torch.int64), odd=True)
EMPTY = Batch("no image at all", _ROWS[:0], torch.zeros(0, dtype=torch.int64), odd=True)

TINY = (PAIR, STRANGERS, ALONE, EMPTY)
UNUSUAL = (TIED, DOUBLED, CROSSED, SINGLES, APART, SINGLE_CLASS, LARGE)
