"""A gallery: classes that are enrolled by their images, a model, and a promise about strangers."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from metricforge.atomic_files import MANIFEST, read_folder, write_folder
from metricforge.data.model_inputs import Encodable, OneImage
from metricforge.decoding import of_format
from metricforge.errors import ArtefactError, DataError, UsageError, unknown
from metricforge.evaluation import Ints
from metricforge.evaluation.flat_search import search_flat
from metricforge.galleries.answers import Answer, Candidate, Neighbour
from metricforge.galleries.calibration import Calibration, calibrate
from metricforge.galleries.embedded import Embedded, embed_images
from metricforge.loading import load
from metricforge.model import EmbeddingModel
from metricforge.runs.lock import held
from metricforge.weights.reading import WEIGHTS

FORMAT = 1
CONTENTS, ARRAYS = "gallery.json", "gallery.safetensors"
FILES = {CONTENTS, ARRAYS, WEIGHTS, "model.json", "README.md", MANIFEST}
MOST_NEIGHBOURS = 5

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Enrolled:
    """An enrolled image: its class, its file or another name, and the sha256 of its pixels."""

    name: str
    image: str
    sha256: str


@dataclass(frozen=True)
class Contents:
    """What a gallery records beside its embeddings."""

    enrolled: tuple[Enrolled, ...]
    calibration: Calibration
    format: int = FORMAT


@dataclass(frozen=True)
class State:
    """What is enrolled at one time, as embeddings [N, D] with their images."""

    enrolled: tuple[Enrolled, ...]
    rows: Floats
    calibration: Calibration

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({each.name for each in self.enrolled}))

    @cached_property
    def labels(self) -> Ints:
        place = {name: index for index, name in enumerate(self.classes)}
        return np.array([place[each.name] for each in self.enrolled], dtype=np.int64)

    @cached_property
    def images(self) -> Any:
        return _index_of(self.rows)

    @cached_property
    def means(self) -> Any:
        sums = np.zeros((len(self.classes), self.rows.shape[1]))
        np.add.at(sums, self.labels, self.rows)
        means = sums / np.bincount(self.labels)[:, None]
        return _index_of(means.astype(np.float32))


class Strangers(NamedTuple):
    """Embeddings float32 [M, D] of images of validation classes, and their classes int64 [M]."""

    rows: Floats
    labels: Ints


class Gallery:
    """Enrolled classes, and who an image is of. Safe to use from several threads at once."""

    def __init__(self, model: EmbeddingModel, state: State, strangers: Strangers) -> None:
        """A gallery of images that are embedded; :func:`metricforge.enrol` embeds them."""
        self.model = model
        self._state, self._strangers = state, strangers
        self._changing = threading.Lock()

    @classmethod
    def of(
        cls,
        model: EmbeddingModel,
        enrolled: Embedded,
        strangers: Strangers,
        false_alarms: float | None = None,
    ) -> Gallery:
        """Enrol images that are embedded by a model, and choose the threshold.

        Args:
            model: The model.
            enrolled: The images to enrol.
            strangers: Images of validation classes.
            false_alarms: The share of strangers' images that may be identified as somebody.
                Default: the lowest of 1, 2, 5, 10 and 20 % that the classes can promise.

        Raises:
            DataError: There are too few validation classes to promise that.
        """
        images = tuple(_images(enrolled))
        chosen = calibrate(*strangers, _sizes(images), false_alarms)
        return cls(model, State(images, enrolled.rows, chosen), strangers)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the enrolled classes, sorted."""
        return self._state.classes

    @property
    def enrolled(self) -> tuple[Enrolled, ...]:
        """The enrolled images."""
        return self._state.enrolled

    @property
    def calibration(self) -> Calibration:
        """When an image is identified."""
        return self._state.calibration

    def __len__(self) -> int:
        """The number of enrolled images."""
        return len(self._state.enrolled)

    def __repr__(self) -> str:
        state, chosen = self._state, self._state.calibration
        return (
            f"Gallery({len(state.classes)} classes, {len(self)} images; at most "
            f"{chosen.share:.3g} of strangers' images are identified)"
        )

    def identify(self, image: OneImage, *, top: int = 5) -> Answer:
        """Who an image is of, or nobody.

        Args:
            image: A file, a PIL image, or an array as `encode` takes them in a list; of a model of
                vectors one vector [V].
            top: How many of the nearest classes to report.

        Raises:
            DataError: It can't be read, or is no image.
        """
        one = np.asarray(image)[None] if self.model.card.of_vectors else [image]
        return self.identify_all(one, top=top)[0]

    def identify_all(self, images: Encodable, *, top: int = 5) -> list[Answer]:
        """Who each of several images is of: see :meth:`identify`.

        Args:
            images: As `encode` takes them.
            top: How many of the nearest classes to report.
        """
        return self.identify_rows(self.model.encode(images), top=top)

    def identify_rows(self, rows: Floats, *, top: int = 5) -> list[Answer]:
        """Who the images are of whose embeddings are given: see :meth:`identify`.

        Args:
            rows: Embeddings float32 [Q, D] by the model of the gallery.
            top: How many of the nearest classes to report.
        """
        if top < 1:
            raise UsageError(f"top is 1 or more, not {top}.")
        state = self._state
        squared, found = search_flat(state.images, rows, min(MOST_NEIGHBOURS, len(state.rows)))
        return [
            _answer(state, candidates, distances, indices)
            for candidates, distances, indices in zip(
                _candidates(state, rows, top), np.sqrt(squared.clip(min=0)), found, strict=True
            )
        ]

    def add(self, images: Encodable, name: str) -> int:
        """Enrol images of one class, which may be new.

        Other answers stay, unless an image is nearer to these; beyond the number of classes and
        images that the threshold was chosen for, it is chosen anew.

        Args:
            images: As `encode` takes them.
            name: Their class.

        Returns:
            How many were enrolled: those that the class already has are not.

        Raises:
            DataError: There are too few validation classes to promise as much for so many classes.
        """
        return self.add_rows(embed_images(self.model, images, name))

    def add_rows(self, more: Embedded) -> int:
        """Enrol images that are embedded by the model of the gallery: see :meth:`add`."""
        with self._changing:
            state = self._state
            known = {(each.name, each.sha256) for each in state.enrolled}
            new = []
            for index, (name, sha256) in enumerate(zip(more.classes, more.hashes, strict=True)):
                if (name, sha256) not in known:
                    known.add((name, sha256))
                    new.append(index)
            images = list(_images(more))
            added = [images[index] for index in new]
            enrolled = (*state.enrolled, *added)
            rows = np.concatenate([state.rows, more.rows[new]])
            self._state = State(enrolled, rows, self._calibrated(enrolled))
        return len(added)

    def remove(self, name: str) -> int:
        """Forget a class; all other answers stay, unless the class was nearer.

        Returns:
            The number of its images.

        Raises:
            UsageError: There is no class of that name, or no other.
        """
        with self._changing:
            state = self._state
            if name not in state.classes:
                raise unknown("class of the gallery:", name, state.classes)
            if len(state.classes) == 1:
                raise UsageError(f"'{name}' is the only class of the gallery; delete its folder.")
            kept = [index for index, each in enumerate(state.enrolled) if each.name != name]
            enrolled = tuple(state.enrolled[index] for index in kept)
            self._state = State(enrolled, state.rows[kept], state.calibration)
        return len(state.enrolled) - len(kept)

    def _calibrated(self, enrolled: Sequence[Enrolled]) -> Calibration:
        held, sizes = self._state.calibration, _sizes(enrolled)
        if len(sizes) <= held.classes and max(sizes) <= held.images:
            return held
        return calibrate(*self._strangers, sizes, held.share)

    def shared_images(self) -> dict[str, tuple[str, ...]]:
        """The classes of each image that is enrolled in several, by the image's first name."""
        first: dict[str, str] = {}
        classes: dict[str, set[str]] = {}
        for each in self._state.enrolled:
            first.setdefault(each.sha256, each.image)
            classes.setdefault(each.sha256, set()).add(each.name)
        return {
            first[sha256]: tuple(sorted(names))
            for sha256, names in classes.items()
            if len(names) > 1
        }

    def strays(self) -> list[tuple[Enrolled, str]]:
        """The images that are nearer to images of another class, with that class."""
        state = self._state
        _, found = search_flat(state.images, state.rows, min(2, len(state.rows)))
        places = np.arange(len(state.rows))
        other = np.where(found[:, 0] == places, found[:, -1], found[:, 0])
        wrong = np.flatnonzero(state.labels != state.labels[other])
        alone = np.bincount(state.labels)[state.labels[wrong]] == 1
        return [
            (state.enrolled[index], state.enrolled[other[index]].name) for index in wrong[~alone]
        ]

    def save(self, folder: str | Path) -> None:
        """Save the gallery with its model, whole or not at all.

        Raises:
            UsageError: The folder holds anything but a gallery.
        """
        self.refuse_used(folder)
        state = self._state
        contents = asdict(Contents(state.enrolled, state.calibration))
        arrays: dict[str, NDArray[Any]] = {
            "rows": np.ascontiguousarray(state.rows),
            "strangers": np.ascontiguousarray(self._strangers.rows),
            "stranger_labels": self._strangers.labels,
        }
        files = {
            **self.model.files(),
            CONTENTS: json.dumps(contents, indent=1).encode(),
            ARRAYS: save_arrays(arrays),
        }
        write_folder(Path(folder).resolve(), files)

    @staticmethod
    def refuse_used(folder: str | Path) -> None:
        """UsageError if `folder` holds anything but a gallery, since it is replaced as a whole."""
        path = Path(folder).resolve()
        if path == Path.cwd():
            raise UsageError("the gallery would replace the current folder; name a new one.")
        if path.exists() and not path.is_dir():
            raise UsageError(f"{folder} is a file; name another folder.")
        if path.is_dir() and {file.name for file in path.iterdir()} not in (set(), FILES):
            raise UsageError(f"{folder} holds files that are no gallery; name another folder.")

    @classmethod
    def open(cls, folder: str | Path, *, device: str = "auto") -> Gallery:
        """The gallery in a folder, checked by its hashes.

        Raises:
            ArtefactError: It is damaged, foreign or inconsistent.
        """
        path = Path(folder)
        files = read_folder(path)
        if CONTENTS not in files:
            raise ArtefactError(f"{folder} is no gallery; metricforge enrol makes one.")
        try:
            contents = of_format(files[CONTENTS], Contents, FORMAT, f"{folder} has gallery")
            arrays = load_arrays(files[ARRAYS])
            rows, strangers, labels = (
                arrays[name] for name in ("rows", "strangers", "stranger_labels")
            )
        except (ValueError, KeyError, SafetensorError) as error:
            raise ArtefactError(f"{folder} is not a whole gallery: {error}.") from error
        model = load(path, device=device)
        _check(folder, contents, rows, strangers, labels, model.card.dim)
        state = State(contents.enrolled, rows, contents.calibration)
        return cls(model, state, Strangers(strangers, labels))


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Keep other processes from changing a gallery; InUseError if one does."""
    path = folder.resolve()
    with held(path.with_name(f".{path.name}.changing")):
        yield


def _check(
    folder: str | Path, contents: Contents, rows: Any, strangers: Any, labels: Any, dim: int
) -> None:
    """ArtefactError if the parts of a gallery do not fit together."""
    shapes = (rows.shape, strangers.shape, labels.shape)
    expected = ((len(contents.enrolled), dim), (len(labels), dim), (len(strangers),))
    kinds = (rows.dtype, strangers.dtype, labels.dtype)
    whole = shapes == expected and kinds == (np.float32, np.float32, np.int64)
    if not whole or not len(rows) or not len(labels) or (labels < 0).any():
        raise ArtefactError(
            f"{folder} does not fit together: {len(contents.enrolled)} images of {dim} dimensions, "
            f"and arrays of {', '.join(map(str, shapes))}; enrol the images anew."
        )
    if not (np.isfinite(rows).all() and np.isfinite(strangers).all()):
        raise ArtefactError(f"{folder} has embeddings that are NaN or infinite; enrol anew.")


def _images(embedded: Embedded) -> Iterator[Enrolled]:
    for each in zip(embedded.classes, embedded.names, embedded.hashes, strict=True):
        yield Enrolled(*each)


def _sizes(enrolled: Sequence[Enrolled]) -> list[int]:
    """How many images each class has."""
    sizes = list(Counter(each.name for each in enrolled).values())
    if not sizes:
        raise DataError("there are no images to enrol.")
    return sizes


def _index_of(rows: Floats) -> Any:
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(np.ascontiguousarray(rows))
    return index


def _candidates(state: State, rows: Floats, top: int) -> list[list[Candidate]]:
    """The nearest classes of each row, nearest first."""
    top = min(top, len(state.classes))
    if state.calibration.by == "mean":
        squared, found = search_flat(state.means, rows, top)
        return [
            [Candidate(state.classes[i], float(d)) for d, i in zip(*row, strict=True)]
            for row in zip(np.sqrt(squared.clip(min=0)), found, strict=True)
        ]
    return [_by_images(state, row[None], top) for row in rows]


def _by_images(state: State, row: Floats, top: int) -> list[Candidate]:
    """The classes of the nearest images, so many images that these are of enough classes."""
    k = min(len(state.rows), 8 * top)
    while True:
        squared, found = search_flat(state.images, row, k)
        nearest: dict[str, float] = {}
        for distance, index in zip(np.sqrt(squared[0].clip(min=0)), found[0], strict=True):
            nearest.setdefault(state.enrolled[index].name, float(distance))
        if len(nearest) >= top or k == len(state.rows):
            return [Candidate(*each) for each in list(nearest.items())[:top]]
        k = min(len(state.rows), 4 * k)


def _answer(
    state: State, candidates: Sequence[Candidate], distances: Floats, indices: Ints
) -> Answer:
    chosen, first = state.calibration, candidates[0]
    known = first.distance < chosen.threshold
    neighbours = [
        Neighbour(state.enrolled[index].image, state.enrolled[index].name, float(distance))
        for distance, index in zip(distances, indices, strict=True)
    ]
    return Answer(
        first.name if known else None,
        chosen.confidence(first.distance),
        tuple(candidates),
        tuple(neighbours),
    )
