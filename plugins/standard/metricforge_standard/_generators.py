"""torch's global generators, lent to libraries that draw from no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def lent(device: torch.device) -> Iterator[Callable[[int], None]]:
    """A function that seeds the generators of the CPU and of `device`; they are then restored.

    torch.manual_seed seeds every kind of device, which takes a hundred times as long.
    """
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index or 0])
    states = [generator.get_state() for generator in generators]

    def seed(number: int) -> None:
        for generator in generators:
            generator.manual_seed(number)

    try:
        yield seed
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
