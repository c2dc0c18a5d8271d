"""Carrying out the runs of a suite, in processes side by side."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed

from metricforge.bench.records import (
    DONE,
    FAILED,
    REFUSED,
    Record,
    append,
    identity,
    read_records,
)
from metricforge.bench.suite import Elsewhere, Planned, Suite
from metricforge.errors import Interrupted, MetricForgeError, UsageError, told
from metricforge.runs.evaluate import evaluate
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
    goes on from its newest checkpoint. `jobs` are processes side by side, among which the cores
    are shared out; inside `joblib.parallel_config` they are whatever that says, such as a Dask
    cluster. `options` (data_root, device) are put into every recipe, and have no share in what a
    run is known by.
    """
    suite = suite if seeds is None else replace(suite, seeds=seeds)
    planned = suite.plan(only)
    records = out / RECORDS
    # What failed is tried again; what was refused would be again.
    known = read_records(records) if records.exists() else []
    finished = {record.id for record in known if record.outcome != FAILED}
    left = [one for one in planned if _id(suite, one) not in finished]
    threads = max(1, (os.cpu_count() or 1) // max(jobs, 1))
    tasks = (
        delayed(run_one)(suite, one, out, dict(options or {}), threads if jobs > 1 else None)
        for one in left
    )
    ready = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch="n_jobs")(tasks)
    done = len(planned) - len(left)
    for number, record in enumerate(ready, done + 1):
        append(records, record)
        yield number, len(planned), record


def run_one(
    suite: Suite, planned: Planned, out: Path, options: Mapping[str, Any], threads: int | None
) -> Record:
    """One run from its recipe to its record; whatever goes wrong is in the record."""
    if threads is not None:
        torch.set_num_threads(threads)
    began, name = time.perf_counter(), _id(suite, planned)
    about: dict[str, Any] = {
        "id": name, "suite": suite.name, "approach": planned.approach, "seed": planned.seed,
        "fold": planned.fold,
    }  # fmt: skip
    try:
        recipe = Recipe.from_values({**planned.options, **options}, suite.name)
        path = out / "runs" / f"{_slug(planned)}-{name[:8]}"
        run = run_recipe(recipe, out=path, auto_resume=True)
        about |= _told(run, suite.elsewhere, options)
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


def _id(suite: Suite, planned: Planned) -> str:
    return identity(
        {"options": dict(planned.options), "also": [asdict(other) for other in suite.elsewhere]}
    )


def _slug(planned: Planned) -> str:
    """A folder's name for a run."""
    fold = "" if planned.fold is None else f"-fold{planned.fold}"
    short = re.sub(r"[^A-Za-z0-9.]+", "-", planned.approach).strip("-")[:60]
    return f"{short}-seed{planned.seed}{fold}"
