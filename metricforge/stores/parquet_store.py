"""Embeddings in a folder with a .parquet file."""

from __future__ import annotations

from pathlib import Path

from metricforge.stores import arrow
from metricforge.stores.table import EmbeddingTable

FILE = "images.parquet"


class ParquetStore:
    """The .parquet file that `encode` writes, in a folder."""

    name = arrow.KIND
    files = (FILE,)

    def __init__(self) -> None:
        arrow.check_installed()

    def write(self, folder: Path, table: EmbeddingTable) -> None:
        """Write the file."""
        with (folder / FILE).open("wb") as file:
            arrow.write_parquet(table, file)

    def query(self, folder: Path) -> tuple[str, str]:
        """Two lines of Python that search it, for rows."""
        read = f"pyarrow.parquet.read_table({str(folder / FILE)!r}, columns=['vector'])"
        return (
            f"import numpy, pyarrow.parquet; table = {read}",
            "numpy.linalg.norm(numpy.stack(table['vector'].to_numpy()) - vector, axis=1)"
            ".argsort()[:5]",
        )
