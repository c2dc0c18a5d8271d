"""The classes of a batch, as arrays on the host."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Classes:
    """The images of a batch sorted by class: class c is `order[start[c] : start[c] + size[c]]`.

    All arrays are on the host. Everything whose shape depends on the labels is computed from them,
    without waiting for a GPU.

    Attributes:
        order: int64 [B], indices into the batch.
        start: int64 [C], first sorted row of each class.
        size: int64 [C], images of each class.
        device: Device of the labels.
    """

    order: Indices
    start: Indices
    size: Indices
    device: torch.device

    @classmethod
    def of(cls, labels: Tensor) -> Classes:
        """The classes of a batch; computed once for each labels tensor, as long as torch sees it.

        A change through `.numpy()` or `.data` is not detected.

        Args:
            labels: int64 [B].

        Returns:
            The classes.
        """
        if labels.is_inference():  # it has no version
            return cls._sorted(labels, labels.device)
        version, known = _KNOWN.get(labels, (None, None))
        if known is None or version != labels._version:
            return cls.remember(labels, labels)
        return known

    @classmethod
    def remember(cls, labels: Tensor, on_host: Tensor) -> Classes:
        """The same, from a copy of the labels on the host: later calls of `of` wait for nothing.

        Args:
            labels: int64 [B].
            on_host: The same labels on the CPU.

        Returns:
            The classes.
        """
        classes = cls._sorted(on_host, labels.device)
        if not labels.is_inference():
            _KNOWN[labels] = (labels._version, classes)
        return classes

    @classmethod
    def _sorted(cls, labels: Tensor, device: torch.device) -> Classes:
        values = labels.detach().cpu().numpy()
        _, size = np.unique(values, return_counts=True)
        order = np.argsort(values, kind="stable")
        return cls(order, np.cumsum(size) - size, size, device)

    def __len__(self) -> int:
        return len(self.order)

    @property
    def largest(self) -> int:
        """The images of the largest class; 0 for an empty batch."""
        return int(self.size.max(initial=0))

    @cached_property
    def of_row(self) -> Indices:
        """The class of each sorted row, int64 [B]."""
        return np.repeat(np.arange(len(self.size)), self.size)

    @cached_property
    def order_there(self) -> Tensor:
        """`order` on the device of the labels."""
        return self.there(self.order)

    @cached_property
    def of_row_there(self) -> Tensor:
        """The class of each sorted row on the device of the labels, int32 [B]."""
        return self.there(self.of_row.astype(np.int32))

    def positives(self, rows: Indices) -> Indices:
        """The number of other images of a row's class.

        Args:
            rows: int64 [R], sorted rows, on the host.

        Returns:
            int64 [R].
        """
        counts: Indices = self.size[self.of_row[rows]] - 1
        return counts

    def negatives(self, rows: Indices) -> Indices:
        """The number of images of other classes than a row's.

        Args:
            rows: int64 [R], sorted rows, on the host.

        Returns:
            int64 [R].
        """
        counts: Indices = len(self) - 1 - self.positives(rows)
        return counts

    def anchor_rows(self, anchors: int | None) -> Indices:
        """The sorted rows of the first images of the batch.

        Args:
            anchors: Number of images; None: all.

        Returns:
            int64, ascending.
        """
        if anchors is None or anchors >= len(self):
            return np.arange(len(self))
        return np.flatnonzero(self.order < anchors)

    def there(self, values: NDArray[np.generic]) -> Tensor:
        """Copy a host array to the device of the labels, without waiting.

        Args:
            values: Array of any shape.

        Returns:
            The same as a tensor.
        """
        return torch.from_numpy(values).to(self.device, non_blocking=True)


# By tensor, not by value; the entry of a deleted tensor is deleted with it.
_KNOWN: MutableMapping[Tensor, tuple[int, Classes]] = WeakTensorKeyDictionary()
