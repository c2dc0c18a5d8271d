"""The search: trials are trainings without test classes; validation classes judge."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from metricforge import train
from metricforge.errors import ArtefactError, Interrupted, MetricForgeError, UsageError
from metricforge.tuning import carried_out, goodness
from metricforge_optuna.record import Plan, SearchFolder, TrialRecord

Tell = Callable[[str], None]

RECORD = "record"


class Search:
    """A search in its folder, which exists and is locked; a stopped search is resumed.

    The options of a trial are a function of the plan and of the trials before it: a resumed search
    tries the same options as one that was not stopped.
    """

    def __init__(self, plan: Plan, folder: SearchFolder, tell: Tell, progress: bool) -> None:
        self._plan, self._folder, self._tell, self._progress = plan, folder, tell, progress
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = _opened(folder.journal)
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            # It was stopped in the middle, and is done again.
            self._study.tell(trial.number, state=TrialState.FAIL)

    @property
    def records(self) -> list[TrialRecord]:
        """The finished trials, in order."""
        trials = self._study.get_trials(deepcopy=False)
        texts = [trial.user_attrs[RECORD] for trial in trials if RECORD in trial.user_attrs]
        return [TrialRecord(**json.loads(text)) for text in texts]

    def run(self, trials: int, timeout: float | None) -> list[TrialRecord]:
        """Run up to so many trials, or until `timeout` seconds are over, and record the best.

        Args:
            trials: Trials in all, with those that are finished.
            timeout: Seconds after which no trial begins; the first one always does.

        Returns:
            The records of all finished trials.

        Raises:
            UsageError: No trial could be trained.
            Interrupted: The search was stopped.
        """
        began = time.monotonic()
        while len(self.records) < trials:
            if timeout is not None and self.records and time.monotonic() - began > timeout:
                self._tell(f"stopped after {len(self.records)} trials: the time is over.")
                break
            self._try_one(len(self.records) + 1, trials)
            self._folder.write_trials(self.records)
        measured = best_first(self.records, self._plan.recipe.select)
        if not measured:
            reason = self.records[-1].failure
            raise UsageError(f"none of {len(self.records)} trials could be trained; last: {reason}")
        self._folder.write_best(measured[0])
        return self.records

    def _try_one(self, number: int, trials: int) -> None:
        state = np.random.SeedSequence((self._plan.seed, number)).generate_state(1)
        self._study.sampler = optuna.samplers.TPESampler(seed=int(state[0]))
        trial = self._study.ask()
        options = {dimension.key: dimension.pick(trial) for dimension in self._plan.space}
        shown = " ".join(f"{key}={value}" for key, value in options.items())
        record = self._known(number, options) or self._train(number, options)
        told = record.failure or f"{self._plan.recipe.select} {record.score:.4f}"
        self._tell(f"trial {number}/{trials}  {shown}  {told}")
        self._close(trial, record)

    def _known(self, number: int, options: dict[str, str]) -> TrialRecord | None:
        """The record of an earlier trial with the same options: training is deterministic."""
        for record in self.records:
            if record.options == options:
                fields = asdict(record) | {"number": number, "seconds": 0.0}
                return TrialRecord(**fields)
        return None

    def _train(self, number: int, options: dict[str, str]) -> TrialRecord:
        path, began = self._folder.run(number), time.perf_counter()
        try:
            recipe = carried_out(self._plan.recipe, options).but(test=False)
            run = train(**_given(recipe), out=path, overwrite=True, progress=self._progress)
        except Interrupted as error:
            raise _stopped(number, error) from error
        except (MetricForgeError, torch.OutOfMemoryError) as error:
            shutil.rmtree(path, ignore_errors=True)
            failure = " ".join(str(error).split())
            return TrialRecord(number, options, None, failure=failure, seconds=_since(began))
        if number == 1:
            for note in run.summary["training_notes"]:
                self._tell(f"note: {note}")
        # Of use to a run that goes on, and larger than all else in its folder.
        shutil.rmtree(path / "checkpoints", ignore_errors=True)
        scores = run.validation
        name = str(path.relative_to(self._folder.path))
        score = scores.get(self._plan.recipe.select)
        if score is None:
            raise UsageError(
                "the search needs two validation classes, which this split does not have."
            )
        return TrialRecord(number, options, score, scores, name, _since(began))

    def _close(self, trial: Trial, record: TrialRecord) -> None:
        trial.set_user_attr(RECORD, json.dumps(asdict(record)))
        if record.score is None:
            # As the worst of all: what has failed is left out, and would be tried on and on.
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, goodness(self._plan.recipe.select, record.score))


def _opened(journal: Path) -> optuna.Study:
    """The study in a journal, or a new one; ArtefactError when the journal is damaged."""
    _cut_to_whole_lines(journal)
    try:
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name="tune",
            direction="maximize",
            load_if_exists=True,
        )
    except (ValueError, LookupError, TypeError) as error:
        raise ArtefactError(
            f"{journal} is damaged ({type(error).__name__}: {error}); begin anew in another --out."
        ) from error


def _cut_to_whole_lines(journal: Path) -> None:
    """Drop a last line that a crash cut short, or the next one would be written behind it."""
    if journal.is_file():
        content = journal.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            journal.write_bytes(content[:whole])


def best_first(records: list[TrialRecord], select: str) -> list[TrialRecord]:
    """The trials that have the metric `select`, the best first; of equals the earlier."""
    measured = [record for record in records if record.score is not None]
    return sorted(measured, key=lambda record: -goodness(select, record.score or 0.0))


def _given(recipe: Any) -> dict[str, Any]:
    return {key: value for key, value in vars(recipe).items() if value is not None}


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 3)


def _stopped(number: int, error: Interrupted) -> Interrupted:
    stopped = Interrupted(
        f"stopped in trial {number}, which will be done again; the same command resumes."
    )
    stopped.exit_code = error.exit_code
    return stopped
