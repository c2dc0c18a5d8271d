"""Trials: the options that searches choose, trained without the test classes, a line each."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from metricforge.decoding import decoded, is_json
from metricforge.errors import (
    ArtefactError,
    Interrupted,
    InUseError,
    MetricForgeError,
    ResourceError,
    UnfitError,
    UsageError,
    told,
)
from metricforge.recipes.recipe import Recipe
from metricforge.regular_file import read_text
from metricforge.report.progress import Listener
from metricforge.runs.run import Run
from metricforge.runs.train import run_recipe
from metricforge.tuning.strategy import Searching

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

DONE, REFUSED, FAILED = "done", "refused", "failed"


def rounds(
    searches: Mapping[Searching, Callable[[int, Mapping[str, str]], T]],
    count: int,
    score_of: Callable[[T], float | None],
) -> Iterator[list[T]]:
    """The trials of each round, one of every search; they are trained before the next round.

    The same scores lead to the same trials: a search is resumed from its first round, and trials
    that have a record are not trained again. `searches` maps each search to a function that makes a
    trial of its number and options. `score_of` returns the score of a trial, higher is better, or
    None.
    """
    for number in range(1, count + 1):
        trials = [trial_of(number, search.ask()) for search, trial_of in searches.items()]
        yield trials
        for search, trial in zip(searches, trials, strict=True):
            search.tell(score_of(trial))


def best_first(trials: Iterable[T], score_of: Callable[[T], float | None]) -> list[T]:
    """The trials that have a score, the highest first; of equals the earlier."""
    scored = [(score, trial) for trial in trials if (score := score_of(trial)) is not None]
    return [trial for _, trial in sorted(scored, key=lambda pair: -pair[0])]


def trained(recipe: Recipe, path: Path, listener: Listener | None = None) -> Run:
    """Train a recipe, or resume its training, into a folder that then has no checkpoints."""
    run = run_recipe(recipe, out=path, auto_resume=True, listener=listener)
    # Checkpoints are larger than all else, and only needed to resume.
    shutil.rmtree(run.folder.checkpoints.folder, ignore_errors=True)
    return run


def attempted(work: Callable[[], T]) -> tuple[T | None, str, str]:
    """The result of `work`, its outcome and its error: a failed run must not stop the others.

    The outcome is done, refused if these options can't be trained, or failed. Interrupted and
    InUseError are raised: the run is not over.
    """
    try:
        return work(), DONE, ""
    except (Interrupted, InUseError):
        raise
    except (UsageError, UnfitError) as error:
        return None, REFUSED, str(error)
    except Exception as error:
        return None, FAILED, str(error) if isinstance(error, MetricForgeError) else told(error)


def append(path: Path, record: DataclassInstance) -> None:
    """Add a record to a file, as a line synced to the disk; ResourceError if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            # A line that was cut short by a crash must not swallow this one.
            file.write(("\n" if _is_open(path) else "") + json.dumps(asdict(record)) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ResourceError(f"can't write {path}: {error.strerror}.") from error


def read(path: Path, kind: type[T], what: str) -> list[T]:
    """The records of a file, in order; `kind` is their dataclass.

    A damaged line, e.g. one that a crash cut short, is skipped: its run is repeated.
    ArtefactError for a file that is not `what` it should be.
    """
    try:
        lines = read_text(path, errors="replace").splitlines(keepends=True)
    except OSError as error:
        raise ArtefactError(f"{path} can't be read: {error.strerror}.") from error
    records, damaged = [], None
    for line in filter(str.strip, lines):
        try:
            records.append(decoded(line, kind))
        except ValueError as error:
            # A crash while the first line was written leaves a line without an end, and no record.
            if line.endswith("\n") or is_json(line):
                damaged = damaged or error
    if damaged and not records:
        raise ArtefactError(f"{path} is not {what} ({damaged}).")
    return records


def _is_open(path: Path) -> bool:
    """Whether a file's last line has no end."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return False
        file.seek(size - 1)
        return file.read(1) != b"\n"
