"""Carrying out the runs of a suite, in processes side by side."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from metricforge.bench.records import (
    DONE,
    FAILED,
    REFUSED,
    Record,
    append,
    read_records,
)
from metricforge.bench.suite import Elsewhere, Planned, Suite
from metricforge.bench.tuner import Tuner
from metricforge.errors import Interrupted, MetricForgeError, ResourceError, UsageError, told
from metricforge.runs.evaluate import evaluate
from metricforge.runs.lock import held
from metricforge.runs.recipe import ASIDE, Recipe
from metricforge.runs.run import Run
from metricforge.runs.train import run_recipe

RECORDS = "results.jsonl"

PRIVATE = ("command", "platform")
"""What a run knows of its machine and tells nobody: records are made to be published."""


def carry_out(
    suite: Suite,
    out: Path,
    *,
    seeds: int | None = None,
    jobs: int = 1,
    only: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Iterator[tuple[int, int, Record]]:
    """Carry out what of a suite has not been, and yield each record with its number of how many.

    `out` gets the records, in `results.jsonl`, and a folder for each run; a run that was killed
    goes on from its newest checkpoint. Where a suite tunes its approaches, their trials come first.
    `jobs` are processes side by side, among which the cores are shared out; inside
    `joblib.parallel_config` they are whatever that says, such as a Dask cluster. `options`
    (data_root, device) are put into every recipe, and have no share in what a run is known by.
    """
    suite = suite if seeds is None else replace(suite, seeds=seeds)
    with held(out):
        work = _Work(suite, out, jobs, options or {})
        tuner = Tuner(suite, suite.matching(only))
        count = tuner.trials + len(suite.plan(only))
        number = 0
        for trials in tuner.rounds():
            yield from work.carried_out(trials, number, count)
            number += len(trials)
            tuner.learn(work.record_of)
        yield from work.carried_out(suite.plan(only, tuner.chosen), number, count)


class _Work:
    """The runs of a suite that are done, and those that are being done."""

    def __init__(self, suite: Suite, out: Path, jobs: int, options: Mapping[str, Any]) -> None:
        self._suite, self._out, self._options = suite, out, dict(options)
        self._jobs = jobs
        self._records = out / RECORDS
        known = read_records(self._records) if self._records.exists() else []
        # What failed is tried again, and what was refused: it may be that a plugin was not there.
        self._finished = {record.id: record for record in known if record.outcome == DONE}

    def record_of(self, planned: Planned) -> Record | None:
        return self._finished.get(self._suite.identity(planned))

    def carried_out(
        self, planned: Sequence[Planned], before: int, count: int
    ) -> Iterator[tuple[int, int, Record]]:
        """The records of what is left of these, numbered behind those `before` and those done."""
        # Two trials may be of the same options.
        left = {
            self._suite.identity(one): one for one in planned if self.record_of(one) is None
        }.values()
        threads = max(1, (os.cpu_count() or 1) // max(self._jobs, 1)) if self._jobs > 1 else None
        tasks = (delayed(run_one)(self._suite, one, self._out, self._options, threads)
                 for one in left)  # fmt: skip
        workers = Parallel(
            n_jobs=self._jobs, return_as="generator_unordered", pre_dispatch="n_jobs"
        )
        first = before + len(planned) - len(left) + 1
        try:
            for number, record in enumerate(workers(tasks), first):
                append(self._records, record)
                self._finished[record.id] = record
                yield number, count, record
        except TerminatedWorkerError as error:
            raise ResourceError(
                "one of the processes was killed, for which a lack of memory is the usual reason; "
                "go on with the same command and --resume, and fewer --jobs."
            ) from error
        except Interrupted as error:
            stopped = Interrupted("interrupted; go on with the same command and --resume.")
            stopped.exit_code = error.exit_code
            raise stopped from error


def run_one(
    suite: Suite, planned: Planned, out: Path, options: Mapping[str, Any], threads: int | None
) -> Record:
    """One run from its recipe to its record; whatever goes wrong is in the record."""
    if threads is not None:
        torch.set_num_threads(threads)
    began, name = time.perf_counter(), suite.identity(planned)
    about: dict[str, Any] = {
        "id": name, "suite": suite.name, "approach": planned.approach, "seed": planned.seed,
        "fold": planned.fold, "trial": planned.trial, "tuned": dict(planned.tuned),
        "search": planned.search,
    }  # fmt: skip
    try:
        recipe = Recipe.from_values({**planned.options, **options}, suite.name)
        path = out / "runs" / f"{_slug(planned)}-{name[:8]}"
        run = run_recipe(recipe, out=path, auto_resume=True)
        about |= _told(run, () if planned.trial else suite.elsewhere, options)
        # Larger than all else, and of use only to what is to go on.
        shutil.rmtree(run.folder.checkpoints.folder, ignore_errors=True)
        outcome = DONE
    except Interrupted:
        raise
    except UsageError as error:
        about["error"], outcome = str(error), REFUSED
    except Exception as error:  # whatever it is, it must not cost the other runs
        known = isinstance(error, MetricForgeError)
        about["error"], outcome = str(error) if known else told(error), FAILED
    wall = round(time.perf_counter() - began, 3)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(**about, outcome=outcome, wall_seconds=wall, finished=now)


def _told(run: Run, elsewhere: Sequence[Elsewhere], options: Mapping[str, Any]) -> dict[str, Any]:
    """What a run found, on its own test classes and elsewhere."""
    summary, environment = run.summary, run.folder.read("env")
    results: dict[str, dict[str, Any]] = summary["results"]
    for other in elsewhere:
        found = evaluate(
            run,
            other.dataset,
            protocols=other.protocols,
            untrained=True,
            data_root=options.get("data_root"),
            device=options.get("device", "auto"),
        )
        for subject, numbers in found.results.items():
            named = {f"{other.name} {name}": asdict(one) for name, one in numbers.items()}
            results.setdefault(subject, {}).update(named)
    return {
        "recipe": {
            key: value
            for key, value in vars(run.recipe).items()
            if value is not None and key not in ASIDE
        },
        "results": results,
        "validation": summary["validation"],
        "environment": {key: value for key, value in environment.items() if key not in PRIVATE},
        **{
            key: summary[key]
            for key in ("split_hash", "closed_set", "selected_epoch", "images_seen", "seconds")
        },
    }


def _slug(planned: Planned) -> str:
    """A folder's name for a run."""
    fold = "" if planned.fold is None else f"-fold{planned.fold}"
    short = re.sub(r"[^A-Za-z0-9.]+", "-", planned.approach).strip("-.")[:60] or "approach"
    which = f"seed{planned.seed}" if planned.trial is None else f"trial{planned.trial}"
    return f"{short}-{which}{fold}"
