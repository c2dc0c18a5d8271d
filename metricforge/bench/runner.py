"""Runs a suite, in processes side by side."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from metricforge.bench.name_checks import check_names
from metricforge.bench.result_file import Record, read_records
from metricforge.bench.suite import Planned, Suite
from metricforge.bench.trials import chosen, searched_by, trials_of
from metricforge.bench.worker import run_planned
from metricforge.data.images import fingerprint
from metricforge.errors import DataError, Interrupted, MetricForgeError, ResourceError
from metricforge.recipes.dataset_spec import open_dataset
from metricforge.registry import Registry
from metricforge.runs.lock import held
from metricforge.tuning.trials import DONE, REFUSED, append

RECORDS = "results.jsonl"


def carry_out(
    suite: Suite,
    out: Path,
    *,
    seeds: int | None = None,
    jobs: int = 1,
    only: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Iterator[tuple[int, int, Record]]:
    """Run what is missing from a suite, and yield each record with its number and the total.

    `out` gets the records, in `results.jsonl`, and a folder for each run; a run that was killed
    resumes from its newest checkpoint. If the suite tunes its approaches, their trials come first.
    `jobs` is the number of processes, which share the cores; inside `joblib.parallel_config` that
    decides, e.g. for a Dask cluster. `options` (data_root, device) are put into every recipe, and
    do not affect the id of a run.
    """
    suite = replace(suite, approaches=tuple(suite.matching(only)))
    suite = suite if seeds is None else replace(suite, seeds=seeds)
    out = out.resolve()  # Workers of a cluster may have begun in another folder.
    check_names(suite, (options or {}).get("data_root"))
    with held(out), _terminated():
        work = _Work(suite, out, jobs, options or {})
        count = suite.trials + len(suite.plan())
        tried: list[Planned] = []
        for trials in trials_of(suite, work.searched_by, work.record_of):
            yield from work.execute(trials, len(tried), count)
            tried += trials
        tuned = chosen(suite, filter(None, map(work.record_of, tried))) if suite.tuning else None
        yield from work.execute(suite.plan(tuned), len(tried), count)


@contextmanager
def _terminated() -> Iterator[None]:
    """While entered, SIGTERM stops the suite as Ctrl-C does, with its own exit code."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise _stopped(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stopped(exit_code: int) -> Interrupted:
    stopped = Interrupted("interrupted; resume with the same command and --resume.")
    stopped.exit_code = exit_code
    return stopped


class _Work:
    """The finished runs of a suite, and those in progress."""

    def __init__(self, suite: Suite, out: Path, jobs: int, options: Mapping[str, Any]) -> None:
        self._suite, self._out, self._options = suite, out, dict(options)
        self._jobs = jobs
        self._checked = False
        self._records = out / RECORDS
        known = read_records(self._records) if self._records.exists() else []
        # Failed and refused runs are repeated: a plugin may have been installed meanwhile.
        self._finished = {record.id: record for record in known if record.outcome == DONE}
        self._refused = {record.id: record.error for record in known if record.outcome == REFUSED}
        self.searched_by = searched_by(known)

    def record_of(self, planned: Planned) -> Record | None:
        return self._finished.get(self._suite.identity(planned))

    def _refuse_other_images(self) -> None:
        """DataError if a dataset of finished runs has changed since: they can't be compared."""
        if self._checked:
            return
        self._checked = True
        known = {
            str(record.recipe["dataset"]): record.fingerprint
            for record in self._finished.values()
            if record.fingerprint
        }
        registry = Registry.installed()
        for dataset, expected in known.items():
            try:
                opened = open_dataset(dataset, registry, self._options.get("data_root"))
            except MetricForgeError:
                continue  # its own runs fail by it
            if fingerprint(opened) != expected:
                raise DataError(
                    f"the images or labels of {dataset} have changed since runs in {self._out}, "
                    "and no table may mix them; use another --out."
                )

    def execute(
        self, planned: Sequence[Planned], before: int, count: int
    ) -> Iterator[tuple[int, int, Record]]:
        """The records of the unfinished runs of these, numbered after the finished ones."""
        # Two trials may be of the same options.
        remaining = {
            self._suite.identity(run): run for run in planned if self.record_of(run) is None
        }.values()
        if remaining:
            self._refuse_other_images()
        threads = max(1, cpu_count() // self._jobs) if self._jobs > 1 else None
        tasks = (
            delayed(run_planned)(self._suite, run, self._out, self._options, threads, os.getpid())
            for run in remaining
        )
        workers = Parallel(
            n_jobs=self._jobs, return_as="generator_unordered", pre_dispatch="n_jobs"
        )
        first = before + len(planned) - len(remaining) + 1
        try:
            for number, record in enumerate(workers(tasks), first):
                if record.outcome != REFUSED or self._refused.get(record.id) != record.error:
                    append(self._records, record)
                self._finished[record.id] = record
                yield number, count, record
        except TerminatedWorkerError as error:
            raise ResourceError(
                "one of the processes was killed, for which a lack of memory is the usual reason; "
                "resume with the same command and --resume, and fewer --jobs."
            ) from error
        except KeyboardInterrupt as error:
            raise _stopped(Interrupted.exit_code) from error
        except Interrupted as error:
            raise _stopped(error.exit_code) from error
