"""The search of a recipe's options in a folder: its plan, its trials, the best recipe."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metricforge.atomic_files import write_file
from metricforge.data.images import places_hash
from metricforge.decoding import decoded
from metricforge.errors import ArtefactError, DataError, Interrupted, UsageError
from metricforge.recipes.components import make_dataset
from metricforge.recipes.dataset_spec import located
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.regular_file import read_text
from metricforge.report.progress import Listener, ProgressLine
from metricforge.runs.lock import held
from metricforge.runs.run import Run
from metricforge.scoring.measure import goodness
from metricforge.tuning.options import carried_out
from metricforge.tuning.space import Dimension
from metricforge.tuning.strategy import Searching, usual_search
from metricforge.tuning.trials import append, attempted, best_first, read, rounds, trained

FORMAT = 2


@dataclass(frozen=True)
class Trial:
    """The record of a trial: its options, and the scores on validation classes or why it failed.

    `score` is that of the metric to select by. `run` is the folder of its run inside the search's,
    or that of an earlier trial with the same options.
    """

    number: int
    options: Mapping[str, str]
    score: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    run: str | None = None
    seconds: float = 0.0
    failure: str = ""


@dataclass(frozen=True)
class Plan:
    """The plan of a search: a recipe, the values to try, the search that chooses them, its seed.

    If `search` is "", it is that of the folder, or of a new folder the default.
    """

    recipe: Recipe
    space: Sequence[Dimension]
    seed: int
    search: str = ""

    def to_json(self) -> dict[str, Any]:
        """The plan as it is in `search.json`."""
        return {
            "format": FORMAT,
            "recipe": self.recipe.to_toml(),
            "options": [str(dimension) for dimension in self.space],
            "seed": self.seed,
            "search": self.search,
        }


class SearchFolder:
    """A search in its folder.

    Args:
        path: The folder, a new one or that of a search to resume.
        say: Reports a sentence on the progress.
        live: Whether each training shows its progress on the terminal.
    """

    def __init__(self, path: Path, say: Callable[[str], None], live: bool = False) -> None:
        self.path, self.best = path, path / "best.toml"
        self._say, self._live = say, live
        self._plan, self._trials = path / "search.json", path / "trials.jsonl"

    def run(self, plan: Plan, trials: int, timeout: float | None = None) -> list[Trial]:
        """Run trials until so many are recorded, write the best recipe, return all trials.

        After `timeout` seconds no trial begins, but the first one always does. Raises UsageError
        for a folder of anything else or another search, with the difference, and if no trial
        could be trained; ArtefactError for damaged files, Interrupted if the search is stopped.
        """
        if not self._plan.is_file() and self.path.exists() and not _is_empty(self.path):
            raise UsageError(f"{self.path} holds something else than a search; use another --out.")
        with held(self.path):
            plan = self._agreed(plan)
            records = self._recorded()
            if len(records) < trials:
                self._run_trials(plan, records, trials, timeout)
            done = [records[number] for number in sorted(records)]
            best = ranked(done, plan.recipe.select)
            if not best:
                reason = done[-1].failure
                raise UsageError(f"none of {len(done)} trials could be trained; last: {reason}")
            recipe = Recipe.from_toml(self.path / str(best[0].run) / "config.toml")
            write_file(self.best, recipe.but(test=True).to_toml())
        return done

    def _run_trials(
        self, plan: Plan, records: dict[int, Trial], count: int, timeout: float | None
    ) -> None:
        registry, began = Registry.installed(), time.monotonic()
        search = Searching(plan.search, plan.seed, plan.space, registry)
        # A missing dataset would fail every trial, whatever its options.
        recipe = located(plan.recipe, registry)
        assert not isinstance(recipe.dataset, str)
        images = places_hash(make_dataset(registry, recipe.dataset, recipe.data_root))
        self._refuse_other_images(images)
        # Only now: the search exists.
        write_file(self._plan, json.dumps(plan.to_json() | {"images": images}, indent=1) + "\n")
        select = plan.recipe.select
        proposed = rounds(
            {search: Trial}, count, lambda trial: _score(records[trial.number], select)
        )
        for (trial,) in proposed:
            if (known := records.get(trial.number)) is not None:
                if known.options != trial.options:
                    # E.g. after another version of the search, which would choose other options.
                    raise ArtefactError(
                        f"{self._trials} has {written(known.options)} as trial {trial.number}, and "
                        f"the search '{plan.search}' of now chooses {written(trial.options)}; use "
                        "another --out."
                    )
                continue
            if timeout is not None and records and time.monotonic() - began > timeout:
                self._say(f"stopped after {len(records)} trials: the time is over.")
                return
            # Training is deterministic: the same options are trained once. A failed trial is
            # repeated, because memory may have run out.
            scored = (record for record in records.values() if record.score is not None)
            same = next((record for record in scored if record.options == trial.options), None)
            if same is None:
                record = self._trained(plan, trial)
            else:
                record = replace(same, number=trial.number, seconds=0.0)
            append(self._trials, record)
            records[trial.number] = record
            shown = record.failure or f"{select} {record.score:.4f}"
            self._say(f"trial {trial.number}/{count}  {written(trial.options)}  {shown}")

    def _trained(self, plan: Plan, trial: Trial) -> Trial:
        name, began = f"trials/{trial.number:03d}", time.perf_counter()

        def run() -> Run:
            recipe = carried_out(plan.recipe, trial.options).but(test=False)
            with ProgressLine() if self._live else nullcontext(Listener()) as line:
                return trained(recipe, self.path / name, line)

        try:
            done, _, error = attempted(run)
        except Interrupted as stop:
            stopped = Interrupted(f"stopped in trial {trial.number}; the same command resumes.")
            stopped.exit_code = stop.exit_code
            raise stopped from stop
        seconds = round(time.perf_counter() - began, 3)
        if done is None:
            shutil.rmtree(self.path / name, ignore_errors=True)
            return replace(trial, failure=" ".join(error.split()), seconds=seconds)
        if trial.number == 1:
            for note in done.summary["training_notes"]:
                self._say(f"note: {note}")
        scores = done.validation
        if plan.recipe.select not in scores:
            raise UsageError(
                "the search needs two validation classes, which this split does not have."
            )
        score = scores[plan.recipe.select]
        return replace(trial, score=score, scores=scores, run=name, seconds=seconds)

    def _agreed(self, plan: Plan) -> Plan:
        """The plan with its search; UsageError if the folder has another plan."""
        if not self._plan.is_file():
            return replace(plan, search=plan.search or usual_search(Registry.installed()))
        try:
            recorded = decoded(read_text(self._plan), dict[str, Any])
            if (format := recorded.get("format")) != FORMAT:
                raise ValueError(f"it is of format {format}, not {FORMAT}")
        except (OSError, ValueError) as error:
            raise ArtefactError(
                f"{self._plan} can't be read: {error}; use another --out."
            ) from error
        plan = replace(plan, search=plan.search or str(recorded.get("search")))
        if differences := list(_differences(recorded, plan.to_json())):
            raise UsageError(
                f"{self.path} holds another search (there / asked for): {'; '.join(differences)}; "
                "use another --out."
            )
        return plan

    def _refuse_other_images(self, images: str) -> None:
        """DataError if the dataset has changed since the search began."""
        if self._plan.is_file():
            recorded = decoded(read_text(self._plan), dict[str, Any]).get("images", images)
            if recorded != images:
                raise DataError(
                    f"the images or labels have changed since the search in {self.path} began, and "
                    "its trials can't be ranked with new ones; use another --out."
                )

    def _recorded(self) -> dict[int, Trial]:
        """The newest record of each trial, by number."""
        if not self._trials.is_file():
            return {}
        records = read(self._trials, Trial, "the file of a search's trials")
        return {record.number: record for record in records}


def ranked(trials: Iterable[Trial], select: str) -> list[Trial]:
    """The trials that could be trained, the best by the metric `select` first."""
    return best_first(trials, lambda trial: _score(trial, select))


def written(options: Mapping[str, str]) -> str:
    """Options as on the command line."""
    return " ".join(f"{key}={value}" for key, value in options.items())


def _score(trial: Trial, select: str) -> float | None:
    return None if trial.score is None else goodness(select, trial.score)


def _is_empty(path: Path) -> bool:
    """Whether a folder has no files but the hidden ones of a killed search."""
    return path.is_dir() and all(file.name.startswith(".") for file in path.iterdir())


def _differences(recorded: Mapping[str, Any], requested: Mapping[str, Any]) -> Iterator[str]:
    """The differences of two plans, as "key: recorded / requested"."""
    for key, value in requested.items():
        first, second = _lines(recorded.get(key)), _lines(value)
        mine = ", ".join(line for line in first if line not in second)
        theirs = ", ".join(line for line in second if line not in first)
        if mine or theirs:
            yield f"{key}: {mine or '-'} / {theirs or '-'}"
        elif first != second:
            yield f"{key}: in another order"


def _lines(value: Any) -> list[str]:
    return list(map(str, value)) if isinstance(value, list) else str(value).splitlines()
