"""The records of a suite's runs: a file with a line of JSON for each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from metricforge.decoding import Finite
from metricforge.runs.environment import Environment
from metricforge.tuning.trials import DONE, read


class RecordedEstimate(TypedDict):
    """An estimate as JSON."""

    value: Finite
    low: Finite
    high: Finite
    n: int
    over: str


@dataclass(frozen=True)
class Record:
    """One run of a suite.

    - `id`: of the planned run; the same for the same options.
    - `outcome`: done; refused, if its options can't be trained; failed, by the `error`.
    - `recipe`: every option, with defaults; `results`: estimates by approach (trained, untrained,
      pixels) and name, those of another dataset with its name before theirs.
    - `tuned`: the options that `search` has chosen, or that a trial tries. `trial` is the number of
      a trial, which is not tested.
    - `fingerprint`: of the dataset; "" in records of earlier versions.
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
    results: Mapping[str, Mapping[str, RecordedEstimate]] = field(default_factory=dict)
    validation: Mapping[str, float] = field(default_factory=dict)
    split_hash: str = ""
    fingerprint: str = ""
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


def same_images(first: Record, second: Record) -> bool:
    """Whether two runs had the same images, as far as their records tell."""
    known = {record.fingerprint for record in (first, second) if record.fingerprint}
    return len(known) < 2


def identity(what: Mapping[str, Any]) -> str:
    """A hash of options."""
    text = json.dumps(what, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_records(path: Path) -> list[Record]:
    """The newest record of each run, in the order of their first records.

    A damaged line is skipped: its run is repeated. ArtefactError for a file without records.
    """
    records = read(path, Record, "a file of a suite's records")
    return list({record.id: record for record in records}.values())
