"""Images for the batches to come, read while the network works on the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from torch import Tensor

from metricforge.data.images import Images

AHEAD = 4
_END = object()

T = TypeVar("T")


def ahead(items: Iterator[T], count: int = AHEAD) -> Iterator[T]:
    """The items of an iterator, of which up to `count` are made ahead, in a thread, in order.

    An error is raised where its item would have come.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
        coming = deque(reader.submit(next, items, _END) for _ in range(count))
        try:
            while (item := coming.popleft().result()) is not _END:
                coming.append(reader.submit(next, items, _END))
                yield item  # type: ignore[misc]
        finally:
            for future in coming:
                future.cancel()


def read_ahead(images: Images, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """For each batch of indices [B] its images, uint8 [B, C, H, W], in order.

    Images in memory are taken directly; files are decoded up to four batches ahead, in a
    thread. An error there is raised where its batch would have come.
    """
    if images.in_memory:
        yield from map(images.take, batches)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
        coming: deque[Future[Tensor]] = deque()
        try:
            for batch in batches:
                coming.append(reader.submit(images.take, batch))
                if len(coming) > AHEAD:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            # A stop in the middle must not wait for unused batches.
            for future in coming:
                future.cancel()
