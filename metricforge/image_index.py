"""A searchable index of images: their embeddings in faiss, and the model's hash."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from metricforge.atomic_files import MANIFEST, read_folder, write_folder
from metricforge.data.own_outputs import STORE, refuse_other
from metricforge.decoding import Size, of_format
from metricforge.errors import ArtefactError, DataError, UsageError
from metricforge.evaluation.flat_search import search_flat
from metricforge.loading import load
from metricforge.model import EmbeddingModel
from metricforge.model_card import Card, model_folder
from metricforge.weights.reading import WEIGHTS

FORMAT = 3
"""Format 1 did not record how files are read, 2 had no labels."""
FILES = {"index.faiss", "contents.json", MANIFEST}
METRICS = {"l2": faiss.METRIC_L2}

_FLAT = struct.Struct("<4siq17xiQ")
"""Of a flat index: its kind, dimensions, embeddings, metric and the count of floats that follow."""
_FLAT_KINDS = ((b"IxF2", faiss.METRIC_L2), (b"IxFI", faiss.METRIC_INNER_PRODUCT))


@dataclass(frozen=True)
class Contents:
    """The content of an index: the names of its images, row by row, and the hash of their model.

    Images of a dataset have labels, too; others have none, or empty ones.
    """

    names: tuple[str, ...]
    dim: Size
    model: str
    metric: str = "l2"
    labels: tuple[str, ...] = ()
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.labels and len(self.labels) != len(self.names):
            raise ValueError(f"there are {len(self.names)} names and {len(self.labels)} labels")


@dataclass(frozen=True)
class Hit:
    """An image of the index, its euclidean distance to the query, and its label, if it has one."""

    name: str
    distance: float
    label: str = ""


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
        labels: Sequence[str] = (),
    ) -> ImageIndex:
        """An index of images by the model of a run.

        Args:
            run: The folder of the run, or of the model.
            model: Its model.
            images: Names of the images, each once.
            rows: Their embeddings float32 [N, D].
            labels: The class of each, or nothing.
        """
        hashed = model_hash(run, model.card)
        names = tuple(map(str, images))
        contents = Contents(names, model.card.dim, hashed, labels=tuple(labels))
        return cls(contents, flat_index(rows, model.card.dim))

    @property
    def rows(self) -> NDArray[np.float32]:
        """The embeddings float32 [N, D]."""
        rows: NDArray[np.float32] = self.index.reconstruct_n(0, self.index.ntotal)
        return rows

    def with_images(
        self, images: Sequence[str | Path], rows: NDArray[np.float32], labels: Sequence[str] = ()
    ) -> ImageIndex:
        """The index with more images; of those that it holds already the new embeddings count."""
        new = tuple(map(str, images))
        again = {*new} & {*self.contents.names}
        kept = self.without(again) if again else self
        either = kept.contents.labels or tuple(labels)
        merged = (
            *(kept.contents.labels or ("",) * len(kept.contents.names)),
            *(tuple(labels) or ("",) * len(new)),
        )
        contents = replace(
            self.contents,
            names=(*kept.contents.names, *new),
            labels=merged if either else (),
            format=FORMAT,
        )
        together = np.concatenate([kept.rows, rows])
        return ImageIndex(contents, flat_index(together, self.contents.dim))

    def without(self, names: Collection[str]) -> ImageIndex:
        """The index without the images of these names; UsageError for one that it doesn't hold."""
        held = self.contents.names
        if missing := sorted({*names} - {*held}):
            raise UsageError(f"the index holds no image '{missing[0]}', of {len(held):,} images.")
        places = [place for place, name in enumerate(held) if name not in names]
        labels = self.contents.labels
        contents = replace(
            self.contents,
            names=tuple(held[place] for place in places),
            labels=tuple(labels[place] for place in places) if labels else (),
            format=FORMAT,
        )
        return ImageIndex(contents, flat_index(self.rows[places], self.contents.dim))

    @staticmethod
    def refuse_used(folder: str | Path) -> None:
        """UsageError if `folder` holds anything but an index, since it is replaced as a whole."""
        refuse_other(folder, "index", lambda path: {file.name for file in path.iterdir()} == FILES)

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
        if (folder / STORE).is_file():
            raise ArtefactError(
                f"{folder} is a store of `metricforge index --to`, for another program: search it "
                "by the Python that was printed, or index the images without --to."
            )
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

    def refuse_other_model(self, run: str | Path, card: Card) -> None:
        """ArtefactError unless the index was made with this model of a run."""
        if model_hash(run, card) != self.contents.model:
            raise ArtefactError(
                f"the index is of another model than that of {run}, whose embeddings lie "
                "elsewhere; use the model it was made with, or index the images again."
            )

    def model_of(self, run: str | Path, device: str = "auto") -> EmbeddingModel:
        """The model of a run, with which the index was made.

        Raises ArtefactError when the index is of another model, DataError when it is empty.
        """
        run = model_folder(run)  # once: it may lie on a hub
        model = load(run, device=device)
        self.refuse_other_model(run, model.card)
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
                Hit(
                    self.contents.names[index],
                    float(d) ** 0.5,
                    self.contents.labels[index] if self.contents.labels else "",
                )
                for d, index in zip(*row, strict=True)
            ]
            for row in zip(squared.clip(min=0), neighbors, strict=True)
        ]


def flat_index(rows: NDArray[np.float32], dim: int) -> Any:
    """An index of faiss of embeddings [N, D] that searches exactly, by squared distances."""
    index = faiss.IndexFlatL2(dim)
    index.add(np.ascontiguousarray(rows))
    return index


def model_hash(run: str | Path, card: Card) -> str:
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
    if "contents.json" not in files:
        raise ArtefactError(f"{folder} is no index of images; metricforge index makes one.")
    try:
        return of_format(files["contents.json"], Contents, FORMAT, f"{folder} has index")
    except ValueError as error:
        raise ArtefactError(
            f"{folder} is not an index of images (contents.json: {error})."
        ) from error
