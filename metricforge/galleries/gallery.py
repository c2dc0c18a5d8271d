"""A gallery: classes that are enrolled by their images, a model, and a promise about strangers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from metricforge.data.model_inputs import Encodable, OneImage
from metricforge.errors import ArtefactError, DataError, UsageError, unknown
from metricforge.evaluation import IndexKind
from metricforge.galleries import files
from metricforge.galleries.answers import Answer
from metricforge.galleries.calibration import Calibration, Strangers
from metricforge.galleries.embedded import Embedded, embed_images
from metricforge.galleries.points import Floats
from metricforge.galleries.state import Enrolled, State
from metricforge.loading import load
from metricforge.model import EmbeddingModel


class Gallery:
    """Enrolled classes, and who an image is of. Safe to use from several threads at once."""

    def __init__(self, model: EmbeddingModel, state: State, strangers: Strangers) -> None:
        """A gallery of images that are embedded; :func:`metricforge.enrol` embeds them."""
        self.model = model
        self._state, self._strangers = state, strangers
        self._changing = threading.Lock()
        self.notes: tuple[str, ...] = ()
        """What reading the enrolled images has told, e.g. of files that were skipped."""

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
        chosen = strangers.calibrated(_sizes(images), false_alarms)
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
            f"Gallery({len(state.classes)} classes, {len(self)} images; a "
            f"stranger is identified with a probability of at most {chosen.share:.3g})"
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
        return self._state.answers(rows, _checked(top), self._strangers.cohort)

    def identify_together(self, images: Encodable, *, top: int = 5) -> Answer:
        """Who several images of one thing are of, by their mean embedding, or nobody.

        The promise holds for so many images together: the threshold is chosen for their number.

        Args:
            images: As `encode` takes them.
            top: How many of the nearest classes to report.

        Raises:
            DataError: There are too few validation classes of so many images to promise as much.
        """
        return self.identify_rows_together(self.model.encode(images), top=top)

    def identify_rows_together(self, rows: Floats, *, top: int = 5) -> Answer:
        """Who the images are of whose embeddings are given: see :meth:`identify_together`.

        Args:
            rows: Embeddings float32 [Q, D] by the model of the gallery.
            top: How many of the nearest classes to report.
        """
        if not len(rows):
            raise DataError("there are no images to identify.")
        state = self._state
        chosen = (
            state.calibration_of(len(rows), self._strangers) if len(rows) > 1 else state.calibration
        )
        mean = rows.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
        return state.answers(mean, _checked(top), self._strangers.cohort, chosen)[0]

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
            chosen = self._calibrated(enrolled)
            self._state = replace(state, enrolled=enrolled, rows=rows, calibration=chosen)
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
            self._state = replace(state, enrolled=enrolled, rows=state.rows[kept])
        return len(state.enrolled) - len(kept)

    def _calibrated(self, enrolled: Sequence[Enrolled]) -> Calibration:
        held, sizes = self._state.calibration, _sizes(enrolled)
        if held.holds_for(sizes):
            return held
        return self._strangers.calibrated(sizes, held.share)

    def shared_images(self) -> dict[str, tuple[str, ...]]:
        """The classes of each image that is enrolled in several, by the image's first name."""
        return self._state.shared_images()

    def strays(self) -> list[tuple[Enrolled, str]]:
        """The images that are nearer to images of another class, with that class."""
        return self._state.strays()

    def save(self, folder: str | Path) -> None:
        """Save the gallery with its model, whole or not at all.

        Raises:
            UsageError: The folder holds anything but a gallery.
        """
        files.write(folder, self.model, self._state, self._strangers)

    @classmethod
    def open(
        cls, folder: str | Path, *, device: str = "auto", index: IndexKind = "exact"
    ) -> Gallery:
        """The gallery in a folder, checked by its hashes.

        Args:
            folder: The folder.
            device: "auto", "cpu", "cuda" or "mps".
            index: "exact", or "ivf" or "hnsw": an approximate search, which is faster for a million
                images once it is built, at the first answer, and may miss the nearest.

        Raises:
            ArtefactError: It is damaged, foreign or inconsistent.
        """
        state, strangers = files.read(folder)
        model = load(folder, device=device)
        if state.rows.shape[1] != model.card.dim:
            raise ArtefactError(
                f"{folder} does not fit together: embeddings of {state.rows.shape[1]} dimensions, "
                f"and a model of {model.card.dim}; enrol the images anew."
            )
        return cls(model, replace(state, search=index), strangers)


def _checked(top: int) -> int:
    if top < 1:
        raise UsageError(f"top is 1 or more, not {top}.")
    return top


def _images(embedded: Embedded) -> Iterator[Enrolled]:
    for each in zip(embedded.classes, embedded.names, embedded.hashes, strict=True):
        yield Enrolled(*each)


def _sizes(enrolled: Sequence[Enrolled]) -> list[int]:
    """How many images each class has."""
    sizes = list(Counter(each.name for each in enrolled).values())
    if not sizes:
        raise DataError("there are no images to enrol.")
    return sizes
