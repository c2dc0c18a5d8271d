"""A split as a file records it: which classes are in which part, or which images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metricforge.atomic_files import parsed
from metricforge.errors import ArtefactError, DataError

NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Record:
    """The names of each part's classes; of a closed set, the places of its images, too.

    `places_hash` is that of :func:`metricforge.data.images.places_hash`, "" without places.
    """

    classes: Mapping[str, Sequence[str]]
    images: Mapping[str, Sequence[int]] | None
    closed_set: bool
    places_hash: str = ""


def read_record(path: Path) -> Record:
    """The record in a JSON file; DataError where there is none, ArtefactError for anything else."""
    try:
        content = parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"the split {path} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise _strange(path) from error
    try:
        parts = {name: content["parts"][name] for name in NAMES}
        classes = {name: _all(str, part["classes"]) for name, part in parts.items()}
        closed = bool(content["closed_set"])
        places = {name: part["places"] for name, part in parts.items()} if closed else None
        images = places and {name: _all(int, found) for name, found in places.items()}
        places_hash = str(content["places_hash"]) if closed else ""
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _strange(path) from error
    return Record(classes, images, closed, places_hash)


def _all(kind: type, values: Any) -> list[Any]:
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise ValueError(f"not a list of {kind.__name__}")
    return values


def _strange(path: Path) -> ArtefactError:
    return ArtefactError(
        f"{path} is no record of a split; metricforge data split --out FILE writes one, and each "
        "run has its split.json."
    )
