"""Random numbers of an image that depend on no batch, process or device."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class ImageDraws:
    """Draws for the images at `indices` [B], a function of (position, index, calls before) alone.

    `position` is the progress of the run, e.g. (seed, epoch). A counter is hashed for each number
    (splitmix64; Steele, Lea and Flood 2014), so that any number of images costs a few operations
    on arrays and no image waits for another's draws. See :class:`metricforge.contracts.Draws`.
    """

    def __init__(
        self, position: tuple[int, ...], indices: Tensor, device: torch.device | str = "cpu"
    ) -> None:
        # With the length in front: SeedSequence takes [7] and [7, 0] for one seed.
        seed = np.random.SeedSequence([len(position), *position]).generate_state(1, np.uint64)
        counters = indices.cpu().numpy().astype(np.uint64)
        self._keys = _mixed(_mixed(counters * _GOLDEN) ^ seed)
        self._drawn = 0
        self._device = device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        # 24 bits are what float32 holds between 0 and 1.
        shares = (self._bits(math.prod(shape)) >> np.uint64(40)).astype(np.float32) * 2.0**-24
        return self._tensor(low + (high - low) * shares, shape)

    def normal(self, *shape: int) -> Tensor:
        count = math.prod(shape)
        shares = (self._bits(2 * count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        radius = np.sqrt(-2 * np.log1p(-shares[:, :count]))
        return self._tensor(radius * np.cos(2 * np.pi * shares[:, count:]), shape)

    def seeds(self) -> list[int]:
        bits: list[int] = (self._bits(1)[:, 0] >> np.uint64(2)).tolist()
        return bits

    def _bits(self, count: int) -> NDArray[np.uint64]:
        """The next numbers of each image, uint64 [B, count]."""
        counters = np.arange(self._drawn + 1, self._drawn + count + 1, dtype=np.uint64)
        self._drawn += count
        return _mixed(self._keys[:, None] + counters * _GOLDEN)

    def _tensor(self, values: NDArray[np.floating], shape: tuple[int, ...]) -> Tensor:
        rows = values.astype(np.float32).reshape(len(self._keys), *shape)
        return torch.from_numpy(rows).to(self._device, non_blocking=True)


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64: each bit of the result depends on all of them."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
