"""A searchable index of images: their embeddings in faiss, and the model's hash."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from metricforge.atomic_files import MANIFEST, read_folder, write_folder
from metricforge.decoding import Size, of_format
from metricforge.errors import ArtefactError, DataError, UsageError
from metricforge.evaluation.flat_search import search_flat
from metricforge.loading import load
from metricforge.model import EmbeddingModel
from metricforge.model_card import Card, model_folder
from metricforge.weights.reading import WEIGHTS

FORMAT = 2
"""Format 1 did not record how files are read."""
FILES = {"index.faiss", "contents.json", MANIFEST}
METRICS = {"l2": faiss.METRIC_L2}

_FLAT = struct.Struct("<4siq17xiQ")
"""Of a flat index: its kind, dimensions, embeddings, metric and the count of floats that follow."""
_FLAT_KINDS = ((b"IxF2", faiss.METRIC_L2), (b"IxFI", faiss.METRIC_INNER_PRODUCT))


@dataclass(frozen=True)
class Contents:
    """The content of an index: the names of its images, row by row, and the hash of their model."""

    names: tuple[str, ...]
    dim: Size
    model: str
    metric: str = "l2"
    format: int = FORMAT


@dataclass(frozen=True)
class Hit:
    """An image of the index, and its euclidean distance to the query."""

    name: str
    distance: float


@dataclass(frozen=True)
class ImageIndex:
    """Embeddings of images by one model, searched exactly."""

    contents: Contents
    index: Any

    @classmethod
    def of(
        cls,
        run: str | Path,
        model: EmbeddingModel,
        images: Sequence[str | Path],
        rows: NDArray[np.float32],
    ) -> ImageIndex:
        """An index of images by their names and their embeddings [N, D] with the model of a run."""
        index = faiss.IndexFlatL2(model.card.dim)
        index.add(rows)
        return cls(Contents(tuple(map(str, images)), model.card.dim, _hash(run, model.card)), index)

    @staticmethod
    def refuse_used(folder: str | Path) -> None:
        """UsageError if `folder` holds anything but an index, since it is replaced as a whole."""
        path = Path(folder).resolve()
        if path == Path.cwd():
            raise UsageError("the index would replace the current folder; give --out a new one.")
        if path.exists() and not path.is_dir():
            raise UsageError(f"{folder} is a file; give another --out.")
        if path.is_dir() and {file.name for file in path.iterdir()} not in (set(), FILES):
            raise UsageError(f"{folder} holds files that are no index; give another --out.")

    def save(self, folder: str | Path) -> None:
        """Write it into `folder`, whole or not at all; UsageError as :meth:`refuse_used`."""
        self.refuse_used(folder)
        files = {
            "index.faiss": faiss.serialize_index(self.index).tobytes(),
            "contents.json": json.dumps(asdict(self.contents), indent=1).encode(),
        }
        write_folder(Path(folder).resolve(), files)

    @classmethod
    def open(cls, folder: str | Path) -> ImageIndex:
        """The index in `folder`, checked by its hashes before faiss reads a byte of it.

        Raises ArtefactError for an index that is damaged, foreign, or inconsistent.
        """
        folder = Path(folder)
        files = read_folder(folder)
        contents = _contents(folder, files)
        try:
            content = files["index.faiss"]
            _check_flat(content)
            index = faiss.deserialize_index(np.frombuffer(content, np.uint8))
        except (KeyError, RuntimeError) as error:
            raise ArtefactError(f"{folder} holds no faiss index: {error!r}.") from error
        actual = (index.ntotal, index.d, index.metric_type)
        expected = (len(contents.names), contents.dim, METRICS.get(contents.metric))
        if actual != expected:
            raise ArtefactError(
                f"{folder} does not fit together: its index has {actual[0]} embeddings of "
                f"{actual[1]} dimensions (metric {actual[2]}), and its contents tell of "
                f"{expected[0]} of {expected[1]} ({contents.metric}); index the images again."
            )
        return cls(contents, index)

    def model_of(self, run: str | Path, device: str = "auto") -> EmbeddingModel:
        """The model of a run, with which the index was made.

        Raises ArtefactError when the index is of another model, DataError when it is empty.
        """
        model = load(run, device=device)
        if _hash(run, model.card) != self.contents.model:
            raise ArtefactError(
                f"the index is of another model than that of {run}, whose embeddings lie "
                "elsewhere; search with the model it was made with, or index the images again."
            )
        if not self.contents.names:
            raise DataError("the index holds no images; index some.")
        return model

    def nearest(self, rows: NDArray[np.float32], k: int = 5) -> list[list[Hit]]:
        """For each embedding of `rows` [N, D] the k nearest images of the index, nearest first.

        Raises ArtefactError for an index of embeddings that are NaN or infinite.
        """
        # Clamped, for faiss would fill up with -1.
        k = min(k, len(self.contents.names))
        squared, neighbors = search_flat(self.index, rows, k)
        if (neighbors < 0).any():
            raise ArtefactError(
                "the index has embeddings at no distance: they are NaN, infinite or near the "
                "largest float; index the images again."
            )
        return [
            [
                Hit(self.contents.names[index], float(d) ** 0.5)
                for d, index in zip(*row, strict=True)
            ]
            for row in zip(squared.clip(min=0), neighbors, strict=True)
        ]


def _hash(run: str | Path, card: Card) -> str:
    """The sha256 of a model's weights and of its preprocessing of images."""
    weights = read_folder(model_folder(run)).get(WEIGHTS, b"")
    preprocessing = (card.shape, card.mean, card.std, card.input_size, card.interpolation)
    how = json.dumps([*preprocessing, card.reading.hashed()])
    return hashlib.sha256(weights + how.encode()).hexdigest()


def _check_flat(content: bytes) -> None:
    """RuntimeError unless it is what faiss writes of a flat index.

    faiss reads many kinds of index, and allocates the sizes that a file gives.
    """
    if len(content) < _FLAT.size:
        raise RuntimeError(f"{len(content)} bytes, which are cut short")
    kind, dim, count, metric, length = _FLAT.unpack_from(content)
    if (kind, metric) not in _FLAT_KINDS:
        raise RuntimeError(f"an index of faiss's kind {kind!r} and metric {metric}")
    if dim < 1 or count < 0 or length != dim * count or _FLAT.size + 4 * length != len(content):
        raise RuntimeError(f"{count} embeddings of {dim} dimensions in {len(content)} bytes")


def _contents(folder: Path, files: dict[str, bytes]) -> Contents:
    try:
        return of_format(files.get("contents.json", b""), Contents, FORMAT, f"{folder} has index")
    except ValueError as error:
        raise ArtefactError(
            f"{folder} is not an index of images (contents.json: {error})."
        ) from error
