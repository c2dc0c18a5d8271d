"""The training loop that a user of other libraries writes, to stand beside ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn
from torch.optim import Optimizer

Step = Callable[[], object]


def for_ever(loader: Iterable[Any]) -> Iterator[Any]:
    """The batches of a loader, epoch after epoch."""
    while True:
        yield from loader


def plain_step(
    batches: Iterator[Any], network: nn.Module, miner: Any, loss: Any, optimizer: Optimizer
) -> Step:
    """What takes the next step with a miner and a loss of pytorch-metric-learning."""

    def step() -> None:
        images, labels = next(batches)
        optimizer.zero_grad()
        embeddings = network(images)
        value = loss(embeddings, labels, miner(embeddings, labels))
        value.backward()
        optimizer.step()
        value.item()

    return step
