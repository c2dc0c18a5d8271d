"""A network in evaluation mode for a while, whatever mode each of its modules is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from weakref import WeakKeyDictionary

from torch import nn

_LOCK = Lock()


@dataclass
class _Use:
    """How many use a module at once, and its mode before."""

    training: bool
    count: int = 0


# By module and not by network: two networks may share a backbone.
_IN_USE: WeakKeyDictionary[nn.Module, _Use] = WeakKeyDictionary()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode within, of all threads; the last to leave restores each module's mode."""
    modules = list(network.modules())
    with _LOCK:
        for module in modules:
            _IN_USE.setdefault(module, _Use(module.training)).count += 1
    try:
        with _LOCK:
            network.eval()
        yield
    finally:
        with _LOCK:
            for module in modules:
                use = _IN_USE[module]
                use.count -= 1
                if not use.count:
                    module.training = use.training
                    del _IN_USE[module]
