"""The file that `encode` writes, in the format of its suffix, with the files beside it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from metricforge.atomic_files import Content, check_writable, refuse_irregular, write_files
from metricforge.errors import UsageError
from metricforge.stores import arrow, projector
from metricforge.stores.table import EmbeddingTable, valid

FOREIGN = {".csv", ".h5", ".json", ".pkl", ".pt", ".pth", ".txt"}
"""Suffixes of formats that embeddings are not written in."""

ROWS = ""
"""The name of the content of the file itself, among those of the files beside it."""


@dataclass(frozen=True)
class Format:
    """How embeddings are written to a file.

    Args:
        contents: The contents of all files, by name.
        beside: The suffix of each file beside the first, by name.
        is_replaceable: Whether a file that exists may be replaced.
        check: UsageError if a package is missing.
        is_exact: Whether names that are no valid Unicode are stored as they are, without escapes.
    """

    contents: Callable[[EmbeddingTable], Mapping[str, Content]]
    beside: Mapping[str, str] = field(default_factory=dict)
    is_replaceable: Callable[[Path], bool] = lambda path: True
    check: Callable[[], object] = lambda: None
    is_exact: bool = False


@dataclass(frozen=True)
class EmbeddingFile:
    """A file to write embeddings to, and the names of the files beside it."""

    path: Path
    format: Format

    @classmethod
    def of(cls, out: Path) -> EmbeddingFile:
        """The file of a path; one of another suffix is a .npy file, with that suffix added.

        Raises UsageError for the suffix of another format, and where a file would be replaced that
        `encode` did not write; ResourceError where nothing can be written.
        """
        suffix = out.suffix.lower()
        if suffix in FOREIGN:
            raise UsageError(
                f"{out} would be no {out.suffix} file: embeddings are written as "
                f"{', '.join(FORMATS)}; give --out {out.with_suffix('.npy')}."
            )
        refuse_irregular(out)
        # NumPy adds it, and without it `x` and `x.npy` would share one file of names.
        is_named = out.suffix == ".npy" or (suffix in FORMATS and suffix != ".npy")
        path = out if is_named else out.with_name(f"{out.name}.npy")
        file = cls(path, FORMATS[path.suffix.lower()])
        file.format.check()
        check_writable(out, path, *map(file.beside, file.format.beside))
        file._refuse_foreign()
        return file

    def beside(self, name: str) -> Path:
        """The path of a file beside it, e.g. "names"."""
        return self.path.with_suffix(self.format.beside[name])

    def write(self, table: EmbeddingTable) -> dict[str, Path]:
        """Write all files, or none; the paths of those beside it, by name.

        A file beside it that the earlier embeddings had, and these have not, is deleted.
        """
        contents = dict(self.format.contents(table))
        rows = contents.pop(ROWS)
        written = {name: self.beside(name) for name in contents}
        write_files({self.path: rows, **{written[name]: contents[name] for name in written}})
        for name in self.format.beside.keys() - written.keys():
            self.beside(name).unlink(missing_ok=True)
        return written

    def _refuse_foreign(self) -> None:
        for name in self.format.beside:
            if self.beside(name).exists() and not self.path.exists():
                raise UsageError(
                    f"{self.beside(name)} exists, and is not of an earlier {self.path}; give "
                    f"another --out, since the {name} of the images would replace it."
                )
        if self.path.exists() and not self.format.is_replaceable(self.path):
            raise UsageError(
                f"{self.path} exists, and encode did not write it; give another --out."
            )


def _npy(table: EmbeddingTable) -> dict[str, Content]:
    return {
        ROWS: lambda file: np.save(file, table.rows, allow_pickle=False),
        "names": (json.dumps(list(table.names), indent=0) + "\n").encode(),
        **({"labels": _csv(table)} if table.labels else {}),
    }


def _csv(table: EmbeddingTable) -> bytes:
    """The image and the label of each row."""
    text = io.StringIO()
    rows = zip(table.names, table.labels, strict=True)
    # As they are: evaluate reads them, and classes must keep their names.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("image", "label"), *rows])
    return text.getvalue().encode(errors="surrogateescape")


def _npz(table: EmbeddingTable) -> dict[str, Content]:
    """Uncompressed, so that a reader can map the features to memory."""
    # The names first: by them `_is_npz` knows the file.
    arrays: dict[str, Any] = {"names": np.array(table.paths), "features": table.rows}
    if table.labels:
        arrays["labels"] = np.array([valid(label) for label in table.labels])
    return {ROWS: lambda file: np.savez(file, **arrays)}


def _is_npz(path: Path) -> bool:
    """Whether `_npz` wrote a file: others have their features without names, or before them."""
    try:
        with ZipFile(path) as archive:
            return archive.namelist()[:2] == ["names.npy", "features.npy"]
    except (BadZipFile, OSError):
        return False


def _parquet(table: EmbeddingTable) -> dict[str, Content]:
    return {ROWS: lambda file: arrow.write_parquet(table, file)}


def _tsv(table: EmbeddingTable) -> dict[str, Content]:
    return {
        ROWS: lambda file: projector.write_vectors(table, file),
        "metadata": projector.metadata(table),
    }


def _has_metadata(path: Path) -> bool:
    return path.with_suffix(TSV["metadata"]).exists()


TSV = {"metadata": ".metadata.tsv"}
FORMATS: Mapping[str, Format] = {
    ".npy": Format(_npy, {"names": ".json", "labels": ".labels.csv"}, is_exact=True),
    ".npz": Format(_npz, is_replaceable=_is_npz),
    ".parquet": Format(_parquet, is_replaceable=arrow.is_ours, check=arrow.check_installed),
    ".tsv": Format(_tsv, TSV, is_replaceable=_has_metadata),
}
"""The formats of embeddings, by the suffix of the file."""
