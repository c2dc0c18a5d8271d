"""The labels of the checks of samplers: usual and odd train sets."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from metricforge.testing.checks import on_input


@dataclass(frozen=True)
class TrainSet:
    """Labels [N] 0 .. C-1 of a train set; an odd one may be refused."""

    name: str
    labels: Tensor = field(repr=False)
    odd: bool = False

    @property
    def groups(self) -> Tensor:
        """A group for every four classes [N]."""
        return self.labels // 4

    @property
    def size(self) -> int:
        return len(self.labels)

    def as_input(self) -> AbstractContextManager[None]:
        """A block whose failures name this set."""
        return on_input(self.name, self.odd)

    def embeddings(self, epoch: int) -> Tensor:
        """Random unit embeddings [N, 16], as `refresh` is given between epochs."""
        return unit_rows(self.size, seed=1_000 + epoch)


def unit_rows(count: int, seed: int, dim: int = 16) -> Tensor:
    """Random rows [count, dim] of unit length, a function of the seed."""
    rng = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=rng))


def many(images: int) -> TrainSet:
    """A large set: so many images, 20 a class."""
    return TrainSet(
        f"{images:,} images of {images // 20:,} classes", _labels([20] * (images // 20))
    )


def _labels(sizes: list[int], shuffled: bool = False) -> Tensor:
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    if shuffled:
        labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(3))]
    return labels


# Forty classes: more than a sampler usually puts into a batch.
BALANCED = TrainSet("40 classes of 8 images", _labels([8] * 40))
SHUFFLED = TrainSet("shuffled labels, 40 classes of 8", _labels([8] * 40, shuffled=True))
LONG_TAIL = TrainSet(
    "a long tail, classes of 96 to 2 images",
    _labels([max(2, 96 // (rank + 1)) for rank in range(40)], shuffled=True),
)
SINGLES = TrainSet("10 classes of one image among 40", _labels([8] * 30 + [1] * 10, shuffled=True))
ORDINARY = (BALANCED, SHUFFLED, LONG_TAIL, SINGLES)
ODD = (
    TrainSet("only classes of one image", _labels([1] * 40), odd=True),
    TrainSet("two classes of 20 images", _labels([20] * 2), odd=True),
    TrainSet("two classes, 60 images and 3", _labels([60, 3]), odd=True),
    TrainSet("a single class", _labels([20]), odd=True),
    TrainSet("two images", _labels([1, 1]), odd=True),
)
EVERY = ORDINARY + ODD
