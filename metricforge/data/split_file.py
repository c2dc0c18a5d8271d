"""A split as a file records it: which classes are in which part, or which images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metricforge.decoding import decoded
from metricforge.errors import ArtefactError, DataError
from metricforge.regular_file import read_text


@dataclass(frozen=True)
class Part:
    """The number of its images, the names of its classes; of a closed set, its images' indices."""

    classes: tuple[str, ...]
    images: int = 0
    places: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Parts:
    """The parts of a split."""

    train: Part
    validation: Part
    test: Part


@dataclass(frozen=True)
class Record:
    """A split and its dataset.

    `places_hash` is that of :func:`metricforge.data.images.places_hash`, "" without places.
    """

    parts: Parts
    closed_set: bool
    hash: str = ""
    places_hash: str = ""
    dataset_fingerprint: str = ""

    def __post_init__(self) -> None:
        parts = vars(self.parts).values()
        if self.closed_set and (not self.places_hash or any(part.places is None for part in parts)):
            raise ValueError("a closed set has places and a places_hash")


def read_record(path: Path) -> Record:
    """The record in a JSON file; DataError where there is none, ArtefactError for anything else."""
    try:
        return decoded(read_text(path), Record)
    except OSError as error:
        raise DataError(f"the split {path} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise ArtefactError(
            f"{path} is no record of a split ({error}); metricforge data split --out FILE writes "
            "one, and each run has its split.json."
        ) from error
