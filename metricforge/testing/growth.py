"""Seconds and peak memory of a piece of work, and how they grow with its size."""

from __future__ import annotations

import math
import time
import tracemalloc
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Usage:
    """The time and memory of a piece of work of some size."""

    size: int
    seconds: float
    bytes: int


def measured(size: int, work: Callable[[], object]) -> Usage:
    """Time the work, then run it again to measure its peak memory.

    That counts tensors, numpy arrays and python objects, not the memory of other libraries.
    """
    _import_what_watching_needs()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    outer = tracemalloc.is_tracing()
    if not outer:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        with LiveTensors() as tensors:
            work()
        python = tracemalloc.get_traced_memory()[1] - before
    finally:
        if not outer:
            tracemalloc.stop()
    return Usage(size, seconds, tensors.peak + max(python, 0))


@cache
def _import_what_watching_needs() -> None:
    # torch loads sympy and more at the first dispatch mode: not the component's memory or time.
    with LiveTensors():
        torch.zeros(1)


def growth_note(usages: Sequence[Usage], letter: str) -> str:
    """Usages as a note: "memory grows as B^2.0: 1.0 MB at 256, 4.2 MB at 512; 3 ms at 512"."""
    first, last = usages[0], usages[-1]
    if first is last:
        return f"{_amount(last.bytes)} and {_time(last.seconds)} at {last.size:,}"
    ratio = math.log(max(last.bytes, 1) / max(first.bytes, 1))
    power = ratio / math.log(last.size / first.size)
    sizes = ", ".join(f"{_amount(u.bytes)} at {u.size:,}" for u in usages)
    return f"memory grows as {letter}^{power:.1f}: {sizes}; {_time(last.seconds)} at {last.size:,}"


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of tensors made within it that are alive; `peak` is the most at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: dict[int, tuple[weakref.ref[Any], int]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        # Unknown inputs existed before, or are numpy's: they are not counted here.
        self._meet((args, kwargs or {}), new=False)
        result = func(*args, **(kwargs or {}))
        self._meet(result, new=True)
        return result

    def _meet(self, tree: Any, new: bool) -> None:
        for leaf in tree_leaves(tree):
            if not isinstance(leaf, torch.Tensor) or leaf.layout != torch.strided:
                continue
            storage = leaf.untyped_storage()
            key = storage._cdata
            if key not in self._known:
                size = storage.nbytes() if new else 0
                gone = weakref.ref(storage, partial(self._forget, key))
                self._known[key] = (gone, size)
                self.live += size
                self.peak = max(self.peak, self.live)

    def _forget(self, key: int, _: object) -> None:
        self.live -= self._known.pop(key, (None, 0))[1]


def _amount(count: int) -> str:
    return f"{count / 2**20:.1f} MB" if count >= 2**20 / 10 else f"{count / 2**10:.1f} kB"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} us"
