"""One run of a suite, in any process."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from metricforge.bench.result_file import Record
from metricforge.bench.suite import Elsewhere, Planned, Suite
from metricforge.judging.evaluate import evaluate
from metricforge.recipes.recipe import Recipe, options
from metricforge.runs.environment import Environment
from metricforge.runs.run import Run
from metricforge.tuning.trials import attempted, trained

PRIVATE = ("command", "platform")
"""Details of the machine that records omit, because they are made to be published."""

OF_SUMMARY = (
    "validation", "split_hash", "closed_set", "selected_epoch", "images_seen", "seconds",
)  # fmt: skip

_AT_WORK = threading.Lock()


def run_planned(
    suite: Suite,
    planned: Planned,
    out: Path,
    options: Mapping[str, Any],
    threads: int | None,
    parent: int,
) -> Record:
    """One run from its recipe to its record, which has any error.

    `threads` to train with (None: torch's default), `parent` the process that waits for it.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    # In a cluster another program starts and ends this process.
    if parent != os.getppid():
        return _recorded(suite, planned, out, options)
    _end_with(parent)
    with _AT_WORK:
        return _recorded(suite, planned, out, options)


def _recorded(suite: Suite, planned: Planned, out: Path, options: Mapping[str, Any]) -> Record:
    began, name = time.perf_counter(), suite.identity(planned)
    about: dict[str, Any] = {
        "id": name, "suite": suite.name, "approach": planned.approach, "seed": planned.seed,
        "fold": planned.fold, "trial": planned.trial, "tuned": dict(planned.tuned),
        "search": planned.search,
    }  # fmt: skip

    def results() -> dict[str, Any]:
        recipe = Recipe.from_values({**planned.options, **options}, suite.name)
        run = trained(recipe, out / "runs" / f"{_slug(planned)}-{name[:8]}")
        return _results_of(run, () if planned.trial else suite.elsewhere)

    content, outcome, error = attempted(results)
    about |= content or {}
    # A resumed run began earlier.
    wall = round(max(time.perf_counter() - began, about.get("seconds", 0.0)), 3)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(**about, outcome=outcome, error=error, wall_seconds=wall, finished=now)


@cache
def _end_with(parent: int) -> None:
    """Stop, as by SIGTERM, soon after the parent process is gone.

    Nothing would receive the record, and a resumed suite would find the folder in use.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        with _AT_WORK:  # until it has saved itself
            os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _results_of(run: Run, elsewhere: Sequence[Elsewhere]) -> dict[str, Any]:
    """The results of a run, on its own test classes and elsewhere."""
    summary, environment = run.folder.summary, run.folder.read("env", Environment)
    results: dict[str, dict[str, Any]] = run.summary["results"]
    for other in elsewhere:
        evaluation = evaluate(
            run,
            other.dataset,
            protocols=other.protocols,
            untrained=True,
            data_root=run.recipe.data_root,
            device=run.recipe.device,
        )
        for subject, numbers in evaluation.results.items():
            prefixed = {
                f"{other.name} {name}": asdict(estimate) for name, estimate in numbers.items()
            }
            results.setdefault(subject, {}).update(prefixed)
    return {
        "recipe": {
            key: value
            for key, value in run.recipe.record().items()
            if not options()[key].about.aside
        },
        "results": results,
        "fingerprint": run.folder.split.dataset_fingerprint,
        "environment": {key: value for key, value in environment.items() if key not in PRIVATE},
        **{key: getattr(summary, key) for key in OF_SUMMARY},
    }


def _slug(planned: Planned) -> str:
    """The name of a run's folder."""
    fold = "" if planned.fold is None else f"-fold{planned.fold}"
    short = re.sub(r"[^A-Za-z0-9.]+", "-", planned.approach).strip("-.")[:60] or "approach"
    which = f"seed{planned.seed}" if planned.trial is None else f"trial{planned.trial}"
    return f"{short}-{which}{fold}"
