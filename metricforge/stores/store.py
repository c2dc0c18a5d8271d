"""The stores that `index --to` writes, by name: folders that a database searches."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from metricforge.atomic_files import replacing, sync_tree
from metricforge.data.own_outputs import STORE, refuse_other
from metricforge.decoding import of_format
from metricforge.errors import MetricForgeError, ResourceError, told, unknown
from metricforge.regular_file import read_text
from metricforge.stores.faiss_store import FaissStore
from metricforge.stores.lancedb_store import LanceDBStore
from metricforge.stores.parquet_store import ParquetStore
from metricforge.stores.qdrant_store import QdrantStore
from metricforge.stores.table import FORMAT, EmbeddingTable, Record


class Store(Protocol):
    """A kind of store; to make one raises UsageError if its package is missing.

    Attributes:
        name: Its name.
        files: The files and folders that it writes, as paths below the store's folder.
    """

    @property
    def name(self) -> str: ...

    @property
    def files(self) -> tuple[str, ...]: ...

    def write(self, folder: Path, table: EmbeddingTable) -> None:
        """Write embeddings into an empty folder, which is moved afterwards."""
        ...

    def query(self, folder: Path) -> tuple[str, str]:
        """Two lines of Python that search it for the five rows nearest to `vector`, float32 [D]."""
        ...


STORES: Mapping[str, Callable[[], Store]] = {
    "faiss": FaissStore,
    "lancedb": LanceDBStore,
    "parquet": ParquetStore,
    "qdrant": QdrantStore,
}
_FILES = {
    store.name: store.files for store in (FaissStore, LanceDBStore, ParquetStore, QdrantStore)
}


def store_of(name: str) -> Store:
    """The store of a name; UsageError if there is none, or if its package is missing."""
    if name not in STORES:
        raise unknown("store", name, STORES)
    return STORES[name]()


def refuse_used(folder: str | Path) -> None:
    """UsageError if `folder` holds anything but a store, since it is replaced as a whole."""
    refuse_other(folder, "store", _is_store)


def write_store(store: Store, folder: Path, table: EmbeddingTable) -> None:
    """Write embeddings into `folder`, all or nothing, in place of an earlier store.

    Raises UsageError as :func:`refuse_used`, ResourceError if the store can't be written.
    """
    refuse_used(folder)
    record = json.dumps(asdict(table.record(store.name)), indent=1) + "\n"
    with replacing(folder.resolve()) as partial:
        try:
            store.write(partial, table)
        except (MetricForgeError, OSError):
            raise
        except Exception as error:  # a database has errors of its own for a disk that is full
            raise ResourceError(f"{store.name} can't write {folder}: {told(error)}.") from error
        (partial / STORE).write_text(record)
        sync_tree(partial)


def _is_store(folder: Path) -> bool:
    """Whether a folder holds the files of one store, and no others."""
    try:
        record = of_format(read_text(folder / STORE), Record, FORMAT, str(folder))
    except (MetricForgeError, OSError, ValueError):
        return False
    own = (STORE, *_FILES.get(record.kind, ()))
    paths = (
        Path(path, name).relative_to(folder) for path, _, names in os.walk(folder) for name in names
    )
    return all(any(path.is_relative_to(each) for each in own) for path in paths)
