"""Embeddings with their names and labels, and the record of the model that made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricforge.decoding import Count, Size

KEY = "metricforge"
"""The name of the record in the metadata of a file or a table."""

FORMAT = 1


@dataclass(frozen=True)
class Record:
    """What a file or a store has on its embeddings, as JSON.

    Args:
        kind: Name of the store, or "parquet" for a file.
        model: sha256 of the model, as an index has it.
        dim: Dimensions of the embeddings.
        images: How many there are.
        distance: The distance by which the model compares embeddings.
        format: Version of this record.
    """

    kind: str
    model: str
    dim: Size
    images: Count
    distance: str = "euclidean"
    format: int = FORMAT


@dataclass(frozen=True)
class EmbeddingTable:
    """Embeddings with their names, and with labels if they are of a dataset.

    Args:
        names: Names of the N images.
        rows: Embeddings float32 [N, D].
        model: sha256 of the model.
        labels: The class of each, or nothing.
    """

    names: Sequence[str]
    rows: NDArray[np.float32]
    model: str
    labels: Sequence[str] = ()

    @property
    def paths(self) -> list[str]:
        """The names as valid Unicode, which every format can store."""
        return [valid(name) for name in self.names]

    @property
    def classes(self) -> list[str | None]:
        """The labels as valid Unicode; None for an image without one."""
        return [valid(label) if label else None for label in self.labels or [""] * len(self.names)]

    @property
    def escaped(self) -> int:
        """How many names and labels are no valid Unicode."""
        return sum(valid(text) != text for text in (*self.names, *self.labels))

    def record(self, kind: str) -> Record:
        """The record of a file or a store of this kind."""
        return Record(kind, self.model, self.rows.shape[1], len(self.names))


def valid(text: str) -> str:
    r"""The text with lone surrogates escaped: \udcff is a byte of a name that is no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
