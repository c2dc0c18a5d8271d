"""What became of the runs of a suite: a line of JSON for each, behind one another."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from metricforge.decoding import Finite, decoded
from metricforge.errors import ArtefactError, ResourceError
from metricforge.runs.environment import Environment

DONE, REFUSED, FAILED = "done", "refused", "failed"


class Told(TypedDict):
    """An estimate, as JSON has it."""

    value: Finite
    low: Finite
    high: Finite
    n: int
    over: str


@dataclass(frozen=True)
class Record:
    """One run of a suite.

    - `id`: of what was asked; the same for the same options.
    - `outcome`: done; refused, as what can't be trained so; failed, by the `error`.
    - `recipe`: every option, with defaults; `results`: estimates by approach (trained, untrained,
      pixels) and name, those of another dataset with its name before theirs.
    - `tuned`: the options that a search has chosen. A `trial` has its number: it is not tested, and
      these are what it tries; `search` has chosen them.
    - `seconds` of training and `wall_seconds` in all.
    """

    id: str
    suite: str
    approach: str
    seed: int
    fold: int | None
    outcome: str
    error: str = ""
    trial: int | None = None
    tuned: Mapping[str, str] = field(default_factory=dict)
    search: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Mapping[str, Told]] = field(default_factory=dict)
    validation: Mapping[str, float] = field(default_factory=dict)
    split_hash: str = ""
    closed_set: bool = False
    selected_epoch: int = 0
    images_seen: int = 0
    seconds: float = 0.0
    wall_seconds: float = 0.0
    environment: Environment = field(default_factory=Environment)
    finished: str = ""

    def __post_init__(self) -> None:
        if self.outcome == DONE and not (self.recipe.get("dataset") and self.environment):
            raise ValueError("a run that is done has a dataset and an environment")


def identity(what: Mapping[str, Any]) -> str:
    """A short name of options that is the same for the same ones."""
    text = json.dumps(what, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def append(path: Path, record: Record) -> None:
    """Add a record to a file, for good."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            # A line that was cut short by a crash must not swallow this one.
            file.write(("\n" if _is_open(path) else "") + json.dumps(asdict(record)) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ResourceError(f"can't write {path}: {error.strerror}.") from error


def read_records(path: Path) -> list[Record]:
    """The newest record of each run, in the order in which they first came.

    A line that a crash cut short is skipped: its run is made again. ArtefactError for what is
    no file of records.
    """
    newest: dict[str, Record] = {}
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise ArtefactError(f"{path} can't be read: {error.strerror}.") from error
    damaged = None
    for line in filter(None, lines):
        try:
            record = decoded(line, Record, closed=True)
            newest[record.id] = record
        except ValueError as error:
            damaged = damaged or error
    if damaged and not newest:
        raise ArtefactError(f"{path} is not a file of a suite's records ({damaged}).")
    return list(newest.values())


def _is_open(path: Path) -> bool:
    """Whether a file's last line has no end."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return False
        file.seek(size - 1)
        return file.read(1) != b"\n"
