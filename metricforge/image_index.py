"""Images that can be searched: their embeddings in a faiss index, with the model they are of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from metricforge.atomic_files import MANIFEST, read_folder, write_folder
from metricforge.decoding import Size, of_format
from metricforge.errors import ArtefactError, DataError, UsageError
from metricforge.model import Card, EmbeddingModel, load, model_folder

FORMAT = 2
"""1 did not say how files are read."""
FILES = {"index.faiss", "contents.json", MANIFEST}
METRICS = {"l2": faiss.METRIC_L2}


@dataclass(frozen=True)
class Contents:
    """What an index holds: the names of its images, row by row, and which model embedded them."""

    names: tuple[str, ...]
    dim: Size
    model: str
    metric: str = "l2"
    format: int = FORMAT


@dataclass(frozen=True)
class Found:
    """An image that was found, and its euclidean distance to the one that was asked for."""

    name: str
    distance: float


@dataclass(frozen=True)
class ImageIndex:
    """Embeddings of images by one model, searched exactly."""

    contents: Contents
    index: Any

    @classmethod
    def of(
        cls, run: str | Path, images: Sequence[Path], device: str = "auto"
    ) -> tuple[ImageIndex, EmbeddingModel]:
        """An index of image files by the model of a run, and that model."""
        model = load(run, device=device)
        rows = model.encode(images)
        index = faiss.IndexFlatL2(model.card.dim)
        index.add(rows)
        names = tuple(str(image) for image in images)
        return cls(Contents(names, model.card.dim, _hash(run, model.card)), index), model

    @staticmethod
    def refuse_used(folder: str | Path) -> None:
        """UsageError if `folder` is in use by anything but an index, for it is replaced whole."""
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
        """The index in `folder`, checked by its hashes before faiss is given a byte of it.

        Raises ArtefactError for what is damaged, foreign, or does not fit together.
        """
        folder = Path(folder)
        files = read_folder(folder)
        contents = _contents(folder, files)
        try:
            index = faiss.deserialize_index(np.frombuffer(files["index.faiss"], np.uint8))
        except (KeyError, RuntimeError) as error:
            raise ArtefactError(f"{folder} holds no faiss index: {error!r}.") from error
        found = (index.ntotal, index.d, index.metric_type)
        expected = (len(contents.names), contents.dim, METRICS.get(contents.metric))
        if found != expected:
            raise ArtefactError(
                f"{folder} does not fit together: its index has {found[0]} embeddings of "
                f"{found[1]} dimensions (metric {found[2]}), and its contents tell of "
                f"{expected[0]} of {expected[1]} ({contents.metric}); index the images again."
            )
        return cls(contents, index)

    def search(
        self, run: str | Path, images: Sequence[Path], k: int = 5, device: str = "auto"
    ) -> list[list[Found]]:
        """For each image the k nearest of the index, nearest first.

        Raises ArtefactError when the index is of another model than that of `run`, DataError when
        it is empty.
        """
        model = load(run, device=device)
        if _hash(run, model.card) != self.contents.model:
            raise ArtefactError(
                f"the index is of another model than that of {run}, whose embeddings lie "
                "elsewhere; search with the model it was made with, or index the images again."
            )
        if not self.contents.names:
            raise DataError("the index holds no images; index some.")
        rows = model.encode(images)
        # Clamped, for faiss would fill up with -1.
        squared, places = self.index.search(rows, min(k, len(self.contents.names)))
        return [
            [
                Found(self.contents.names[place], float(d) ** 0.5)
                for d, place in zip(*row, strict=True)
            ]
            for row in zip(squared.clip(min=0), places, strict=True)
        ]


def _hash(run: str | Path, card: Card) -> str:
    """The sha256 of a model's weights and of what is done to an image before they see it."""
    weights = read_folder(model_folder(run)).get("weights.safetensors", b"")
    seen = (card.shape, card.mean, card.std, card.input_size, card.interpolation)
    how = json.dumps([*seen, card.reading.hashed()])
    return hashlib.sha256(weights + how.encode()).hexdigest()


def _contents(folder: Path, files: dict[str, bytes]) -> Contents:
    try:
        return of_format(files.get("contents.json", b""), Contents, FORMAT, f"{folder} has index")
    except ValueError as error:
        raise ArtefactError(
            f"{folder} is not an index of images (contents.json: {error})."
        ) from error
