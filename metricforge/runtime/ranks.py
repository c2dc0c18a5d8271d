"""The processes that divide a run's work, and their exchange."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from metricforge.errors import LostRankError, UsageError


@dataclass(frozen=True)
class Ranks:
    """The processes that divide the work; one process alone unless :meth:`joined`."""

    rank: int = 0
    count: int = 1

    @classmethod
    @contextmanager
    def joined(cls) -> Iterator[Ranks]:
        """The ranks that `torchrun` started, together until the end; else this process alone.

        Raises UsageError if only some of the variables that torchrun sets are set.
        """
        if _started() == 1:
            yield cls()
            return
        with _reporting_lost_ranks():
            _join()
            try:
                yield cls.current()
            finally:
                dist.destroy_process_group()

    @classmethod
    def current(cls) -> Ranks:
        """This process among the joined ranks."""
        if not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is the rank that reports and writes."""
        return self.rank == 0

    def share(self, size: int) -> slice:
        """This rank's part of `size` rows: adjacent rows, in the order of the ranks."""
        each, more = divmod(size, self.count)
        begin = self.rank * each + min(self.rank, more)
        return slice(begin, begin + each + (self.rank < more))

    def shared(self, embed: Callable[[Tensor], Tensor], indices: Tensor) -> Tensor:
        """`embed` of indices [M], each rank embedding a part: [M, D] on all ranks, in order.

        Each index is embedded once, by one rank, whether or not M can be divided by the ranks.
        """
        return self.gathered(embed(indices[self.share(len(indices))]), len(indices))

    def gathered(self, mine: Tensor, size: int) -> Tensor:
        """All ranks' parts of `size` rows, joined on each rank; this rank's is `mine`."""
        if self.count == 1:
            return mine
        # A collective requires equal sizes: a rank with a row less sends a padding row.
        most = -(-size // self.count)
        padded = mine.new_zeros(most, *mine.shape[1:])
        padded[: len(mine)] = mine
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(parts, padded)
        sizes = (Ranks(rank, self.count).share(size) for rank in range(self.count))
        rows = (part[: own.stop - own.start] for part, own in zip(parts, sizes, strict=True))
        return torch.cat(list(rows))

    def sum_gradients(self, parts: Iterable[nn.Parameter], whole: Iterable[nn.Parameter]) -> None:
        """Give all ranks the same gradient of every parameter.

        Each rank has the gradient of `parts` for its own part of the batch: they are added. Each
        has the same gradient of `whole` already: all take the first rank's, so that they don't
        differ by rounding.
        """
        if self.count == 1:
            return
        parts, whole = list(parts), list(whole)
        gradients = [p.grad for p in parts] + [p.grad if self.first else None for p in whole]
        parameters = [*parts, *whole]
        # After the gradients, which parameters have one: an unused parameter must stay without.
        present = parameters[0].new_tensor([float(grad is not None) for grad in gradients])
        flat = [
            (torch.zeros_like(p) if grad is None else grad).reshape(-1)
            for p, grad in zip(parameters, gradients, strict=True)
        ]
        summed = self.added(torch.cat([*flat, present]))
        *sums, present = summed.split([len(row) for row in flat] + [len(present)])
        for parameter, row, used in zip(parameters, sums, present.tolist(), strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(row.view_as(parameter))
            if not used:
                parameter.grad = None

    def added(self, values: Tensor) -> Tensor:
        """The sum over the ranks; without gradient."""
        if self.count == 1:
            return values
        values = values.detach().contiguous().clone()
        dist.all_reduce(values)
        return values

    def highest(self, number: int) -> int:
        """The highest number of all ranks, on all ranks."""
        if self.count == 1:
            return number
        value = torch.tensor(number)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return int(value)

    def broadcast(self, text: str = "") -> str:
        """The text of the first rank, on all ranks."""
        if self.count == 1:
            return text
        # As bytes: torch's functions for objects would unpickle them.
        content = torch.frombuffer(bytearray(text.encode() + b"\n"), dtype=torch.uint8)
        size = torch.tensor(len(content))
        dist.broadcast(size, 0)
        received = content if self.first else torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(received, 0)
        return bytes(received.tolist()).decode()[:-1]

    def agreed(self, what: bool) -> bool:
        """The truth value of the first rank, on all ranks."""
        return bool(self.broadcast("yes" if what else ""))

    def wait(self) -> None:
        """Wait for all ranks."""
        if self.count > 1:
            dist.barrier()


def _join() -> None:
    """Meet the other ranks that torchrun has started."""
    # Imported later, as by torch's optimizers, it keeps the group in the defaults of its functions:
    # gloo's threads would outlive destroy_process_group, and may abort a Python that ends.
    importlib.import_module("torch.distributed.nn.functional")
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    store, rank, count = next(rendezvous("env://"))
    # torchrun restarts with the store of the ranks that died, whose addresses are stale.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    own = dist.PrefixStore(attempt, store)  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    with _no_words_on_stdout():
        dist.init_process_group(backend, store=own, rank=rank, world_size=count)


@contextmanager
def _no_words_on_stdout() -> Iterator[None]:
    """Redirect file descriptor 1 to stderr inside: gloo prints to stdout."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


@contextmanager
def _reporting_lost_ranks() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error).lower():
            raise LostRankError("another rank has ended; what it said tells why.") from error
        raise


def _started() -> int:
    """The number of processes that torchrun started, this one included; 1 without torchrun."""
    count, rank = (os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK"))
    if count in ("", "1"):
        return 1
    if not (count.isdecimal() and rank.isdecimal() and "MASTER_ADDR" in os.environ):
        raise UsageError(
            f"the environment has WORLD_SIZE={count} and not all else that torchrun sets; start it "
            "with torchrun, or unset WORLD_SIZE."
        )
    return int(count)


ALONE = Ranks()
"""This process alone."""


class Added(torch.autograd.Function):
    """The sum over the ranks of a tensor that each has; the gradient is summed likewise."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return Ranks.current().added(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return Ranks.current().added(gradients[0])
