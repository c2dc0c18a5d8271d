"""Whether a download is allowed: what merely reads a saved model or run must fetch nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from metricforge.errors import ArtefactError

_READER: ContextVar[str | None] = ContextVar("reader", default=None)


@contextmanager
def nothing_fetched(by: str) -> Iterator[None]:
    """Refuse downloads within, where `by` is at work, e.g. "loading a model"."""
    token = _READER.set(by)
    try:
        yield
    finally:
        _READER.reset(token)


def refuse_fetching(what: str, instead: str) -> None:
    """ArtefactError where downloads are refused; a plugin calls it before each.

    Args:
        what: What would be downloaded, e.g. "the weights of resnet18".
        instead: What the user may do, as a sentence without its full stop.
    """
    if by := _READER.get():
        raise ArtefactError(f"{by} fetches nothing, and would have to fetch {what}; {instead}.")
