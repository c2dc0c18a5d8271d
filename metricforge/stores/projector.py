"""Embeddings as the embedding projector of TensorFlow reads them: two files of cells and tabs."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import IO

import numpy as np

from metricforge.stores.table import EmbeddingTable


def write_vectors(table: EmbeddingTable, file: IO[bytes]) -> None:
    """Write a line for each embedding, without a header; each number reads as the same float32."""
    np.savetxt(file, table.rows, fmt="%.9g", delimiter="\t")


def metadata(table: EmbeddingTable) -> bytes:
    """A line for each image with its path and its label, below a header."""
    return "".join(_lines(table)).encode()


def _lines(table: EmbeddingTable) -> Iterator[str]:
    yield "path\tlabel\n"
    for path, label in zip(table.paths, table.classes, strict=True):
        yield f"{cell(path)}\t{cell(label or '')}\n"


def cell(text: str) -> str:
    r"""Text without tabs and newlines, which are written as \t and \n, and a backslash as \\."""
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    # Control characters, and the two separators at which Unicode ends a line.
    if character == "\\" or unicodedata.category(character) in ("Cc", "Zl", "Zp"):
        return character.encode("unicode_escape").decode()
    return character
