"""Embeddings in an index of faiss, with their names beside it."""

from __future__ import annotations

import json
from pathlib import Path

from metricforge.stores.table import EmbeddingTable

INDEX, NAMES, LABELS = "index.faiss", "names.json", "labels.json"


class FaissStore:
    """An index of faiss that searches exactly; names.json and labels.json have a value a row."""

    name = "faiss"
    files = (INDEX, NAMES, LABELS)

    def write(self, folder: Path, table: EmbeddingTable) -> None:
        """Write the index and the names, and the labels if there are any."""
        import faiss

        from metricforge.image_index import flat_index

        index = faiss.serialize_index(flat_index(table.rows, table.rows.shape[1]))
        (folder / INDEX).write_bytes(index.tobytes())
        (folder / NAMES).write_text(json.dumps(table.paths, indent=0) + "\n")
        if table.labels:
            (folder / LABELS).write_text(json.dumps(table.classes, indent=0) + "\n")

    def query(self, folder: Path) -> tuple[str, str]:
        """Two lines of Python that search it, for squared distances and for rows."""
        return "import faiss", f"faiss.read_index({str(folder / INDEX)!r}).search(vector[None], 5)"
