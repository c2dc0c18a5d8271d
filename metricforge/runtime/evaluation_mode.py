"""A network in evaluation mode for a while, whatever mode each of its modules is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from weakref import WeakKeyDictionary

from torch import nn

_LOCK = Lock()


class _Use:
    """The modes before, and how many use the network at once."""

    def __init__(self, module: nn.Module) -> None:
        self.before = [(each, each.training) for each in module.modules()]
        self.count = 0


_IN_USE: WeakKeyDictionary[nn.Module, _Use] = WeakKeyDictionary()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode within, of all threads; the last to leave restores each module's mode."""
    with _LOCK:
        use = _IN_USE.get(module) or _Use(module)
        _IN_USE[module] = use
        use.count += 1
        module.eval()
    try:
        yield
    finally:
        with _LOCK:
            use.count -= 1
            if not use.count:
                del _IN_USE[module]
                for each, training in use.before:
                    each.training = training
