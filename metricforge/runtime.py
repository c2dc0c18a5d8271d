"""The device, the precision and the memory layout that a run computes with; the ranks it has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from metricforge.errors import ResourceError, UsageError

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Runtime:
    """Where and how to compute; made by :meth:`resolve`."""

    device: torch.device
    precision: Precision = "fp32"
    channels_last: bool = True

    @classmethod
    def resolve(
        cls, device: str = "auto", precision: str = "fp32", channels_last: bool = True
    ) -> Runtime:
        """A runtime from options; "auto" takes CUDA, then MPS, then the CPU.

        Raises UsageError for a device or precision that does not exist, ResourceError for a
        device that this machine does not have.
        """
        if precision not in ("fp32", "bf16"):
            raise UsageError(f"precision is fp32 or bf16, not '{precision}'.")
        found = _best_device() if device == "auto" else _named_device(device)
        kind: Precision = "bf16" if precision == "bf16" else "fp32"
        return cls(found, kind, channels_last)

    def place(self, model: nn.Module) -> nn.Module:
        """The model on the device and in the memory layout of this runtime."""
        return model.to(self.device, memory_format=self._layout)  # type: ignore[call-overload, no-any-return]

    def prepare(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] on the device and in the memory layout."""
        return images.to(self.device, non_blocking=True, memory_format=self._layout)

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which the network runs: bf16 where asked for, else float32."""
        enabled = self.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    @property
    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


@dataclass(frozen=True)
class Ranks:
    """The processes that share the work, one of them by itself unless :meth:`joined`."""

    rank: int = 0
    count: int = 1

    @classmethod
    @contextmanager
    def joined(cls) -> Iterator[Ranks]:
        """The ranks that `torchrun` started, together until the end; else this process alone."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            yield cls()
            return
        dist.init_process_group("gloo")
        try:
            yield cls.here()
        finally:
            dist.destroy_process_group()

    @classmethod
    def here(cls) -> Ranks:
        """This process among those that joined."""
        if not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is the one that reports."""
        return self.rank == 0

    def shared(self, embed: Callable[[Tensor], Tensor], indices: Tensor) -> Tensor:
        """`embed` of indices [M], each rank doing its share: [M, D] on all ranks, in order.

        Each index is embedded once, by one rank, whether or not M can be divided by the ranks.
        """
        mine = embed(indices[self.rank :: self.count])
        if self.count == 1:
            return mine
        # A collective wants one size of all: who has one index less sends a row that is dropped.
        most = -(-len(indices) // self.count)
        padded = mine.new_zeros(most, mine.shape[1])
        padded[: len(mine)] = mine
        found = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(found, padded)
        whole = mine.new_empty(len(indices), mine.shape[1])
        for rank, rows in enumerate(found):
            place = whole[rank :: self.count]
            place.copy_(rows[: len(place)])
        return whole


def generator(seed: int, *position: int) -> np.random.Generator:
    """The random numbers of one place in a run, such as (seed, epoch): a pure function of it."""
    # With the length in front: numpy takes [7], [7, 0] and [7, 0, 0] for one seed.
    return np.random.default_rng([len(position), seed, *position])


def seed_torch(seed: int, *position: int) -> None:
    """Set torch's own generator for one place in a run, for layers that draw (dropout)."""
    value = int(generator(seed, *position).integers(2**62))
    # Not torch.manual_seed: it asks every kind of device in turn, which a small step would feel.
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(value)


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _named_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device is called '{name}'; write auto, cpu, cuda or mps.") from None
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ResourceError(f"device '{name}' can't be used: {reason}; try auto.") from error
    return device
