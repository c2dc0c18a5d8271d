"""Embeddings in a table of LanceDB."""

from __future__ import annotations

from pathlib import Path

from metricforge.errors import UsageError
from metricforge.extras import imported
from metricforge.stores.arrow import arrow_table
from metricforge.stores.table import EmbeddingTable

TABLE = "images"


class LanceDBStore:
    """A database of LanceDB with the table `images`; its columns are those of a .parquet file."""

    name = "lancedb"
    files = (f"{TABLE}.lance",)

    def __init__(self) -> None:
        self._lancedb = imported("lancedb", f"--to {self.name}", self.name)

    def write(self, folder: Path, table: EmbeddingTable) -> None:
        """Write the table; UsageError for a path that is no UTF-8, as LanceDB's are."""
        try:
            str(folder).encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"LanceDB can't write to {folder}, a path that is no UTF-8."
            ) from error
        self._lancedb.connect(folder).create_table(TABLE, arrow_table(table, self.name))

    def query(self, folder: Path) -> tuple[str, str]:
        """Two lines of Python that search it; `_distance` is the squared distance."""
        opened = f"lancedb.connect({str(folder)!r}).open_table({TABLE!r})"
        return "import lancedb", f"{opened}.search(vector).distance_type('l2').limit(5).to_list()"
