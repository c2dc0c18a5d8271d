"""Embeddings in a collection of Qdrant's local mode."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from metricforge.extras import imported
from metricforge.stores.table import KEY, EmbeddingTable

COLLECTION = "images"
_BATCH = 1024


class QdrantStore:
    """A folder of Qdrant's local mode with the collection `images`, by euclidean distance.

    A point has the row as its id, and path and label as its payload.
    """

    name = "qdrant"
    files = ("meta.json", ".lock", f"collection/{COLLECTION}")

    def __init__(self) -> None:
        self._qdrant = imported("qdrant_client", f"--to {self.name}", self.name)

    def write(self, folder: Path, table: EmbeddingTable) -> None:
        """Write the collection; its metadata have the record of the model."""
        models, record = self._qdrant.models, table.record(self.name)
        client = self._qdrant.QdrantClient(path=str(folder))
        try:
            client.create_collection(
                COLLECTION,
                vectors_config=models.VectorParams(
                    size=record.dim, distance=models.Distance.EUCLID
                ),
                metadata={KEY: asdict(record)},
            )
            each = zip(table.paths, table.classes, strict=True)
            payloads = [{"path": path, "label": label} for path, label in each]
            for start in range(0, len(payloads), _BATCH):
                part = slice(start, start + _BATCH)
                points = models.Batch(
                    ids=list(range(len(payloads))[part]),
                    vectors=table.rows[part].tolist(),
                    payloads=payloads[part],
                )
                client.upsert(COLLECTION, points=points)
        finally:
            client.close()

    def query(self, folder: Path) -> tuple[str, str]:
        """Two lines of Python that search it."""
        return (
            f"import qdrant_client; client = qdrant_client.QdrantClient(path={str(folder)!r})",
            f"client.query_points({COLLECTION!r}, vector, limit=5).points",
        )
