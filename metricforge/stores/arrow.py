"""Embeddings as a table of Arrow, and as a .parquet file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from metricforge.extras import imported
from metricforge.stores.table import KEY, EmbeddingTable

KIND = "parquet"


def check_installed() -> None:
    """UsageError, with the command that installs it, if pyarrow is missing."""
    imported("pyarrow.parquet", "a .parquet file", KIND)


def arrow_table(table: EmbeddingTable, kind: str) -> Any:
    """A pyarrow.Table of `id` int64, `path`, `label` (null without one) and `vector` float32 [D].

    Its metadata have the record of the model, as JSON.
    """
    import pyarrow as pa

    rows = table.rows.astype("float32", copy=False)
    columns = {
        "id": pa.array(range(len(rows)), pa.int64()),
        "path": pa.array(table.paths, pa.string()),
        "label": pa.array(table.classes, pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1]),
    }
    record = json.dumps(asdict(table.record(kind)))
    return pa.table(columns).replace_schema_metadata({KEY: record})


def write_parquet(table: EmbeddingTable, file: IO[bytes]) -> None:
    """Write the table to a .parquet file, which `--dataset` reads if its images have labels."""
    from pyarrow import parquet

    parquet.write_table(arrow_table(table, KIND), file)


def is_ours(path: Path) -> bool:
    """Whether a file is a .parquet file that :func:`write_parquet` wrote."""
    from pyarrow import ArrowException, parquet

    try:
        return KEY.encode() in (parquet.read_schema(path).metadata or {})
    except (ArrowException, OSError):
        return False
