"""The folder of a search: its plan, each trial's record, and the best recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from metricforge import Recipe
from metricforge.errors import ArtefactError, ResourceError, UsageError
from metricforge.tuning import Dimension


@dataclass(frozen=True)
class TrialRecord:
    """One trial: its options, and the scores on validation classes or why it failed.

    `run` is its run's folder inside the search's. A trial with the options of an earlier one names
    that one's.
    """

    number: int
    options: Mapping[str, str]
    score: float | None
    scores: Mapping[str, float] = field(default_factory=dict)
    run: str | None = None
    seconds: float = 0.0
    failure: str = ""


@dataclass(frozen=True)
class Plan:
    """The plan of a search: a recipe, the values to try, the seed of the choices."""

    recipe: Recipe
    space: Sequence[Dimension]
    seed: int

    def to_json(self) -> dict[str, Any]:
        """The plan as it is in `search.json`."""
        return {
            "format": 1,
            "recipe": self.recipe.to_toml(),
            "options": [str(dimension) for dimension in self.space],
            "seed": self.seed,
        }


@dataclass(frozen=True)
class SearchFolder:
    """The files of a search."""

    path: Path

    @property
    def journal(self) -> Path:
        """Optuna's own record, JSON lines, from which a search is resumed."""
        return self.path / "journal.jsonl"

    @property
    def best(self) -> Path:
        return self.path / "best.toml"

    def run(self, number: int) -> Path:
        """The run's folder of a trial."""
        return self.path / "trials" / f"{number:03d}"

    def begin(self, plan: Plan) -> None:
        """Write the plan, or check that it is the one in the folder.

        Raises:
            UsageError: The folder holds something else, or another search; the error has the
                difference.
        """
        record = self.path / "search.json"
        if record.is_file():
            self._refuse_another(plan, record)
        elif self.path.exists() and (self.path.is_file() or any(self.path.iterdir())):
            raise UsageError(f"{self.path} holds something else than a search; use another --out.")
        else:
            _write(record, json.dumps(plan.to_json(), indent=1) + "\n")

    def write_trials(self, records: Iterable[TrialRecord]) -> None:
        """Write `trials.jsonl`, a line a trial in their order."""
        lines = "".join(json.dumps(asdict(record)) + "\n" for record in records)
        _write(self.path / "trials.jsonl", lines)

    def write_best(self, record: TrialRecord) -> None:
        """Write `best.toml`: that trial's recipe with every default, and the test at its end."""
        assert record.run is not None, "a trial that was measured has a run"
        recipe = Recipe.from_toml(self.path / record.run / "config.toml")
        _write(self.best, recipe.but(test=True).to_toml())

    def _refuse_another(self, plan: Plan, record: Path) -> None:
        try:
            there = json.loads(record.read_text())
            differences = _differences(there, plan.to_json())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"{record} can't be read: {error}.") from error
        if differences:
            raise UsageError(
                f"{self.path} holds another search (there / asked for): {'; '.join(differences)}; "
                "use another --out."
            )


def _differences(there: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Where two plans differ, as "what: there / asked for"."""
    sets = [(plan["options"], set(plan["options"])) for plan in (there, asked)]
    only = [[text for text in texts if text not in other[1]]
            for (texts, _), other in zip(sets, reversed(sets), strict=True)]  # fmt: skip
    found = []
    if any(only):
        found.append(f"options: {' '.join(only[0]) or '-'} / {' '.join(only[1]) or '-'}")
    elif there["options"] != asked["options"]:
        found.append("options: in another order")
    if there["seed"] != asked["seed"]:
        found.append(f"seed: {there['seed']} / {asked['seed']}")
    lines = [plan["recipe"].splitlines() for plan in (there, asked)]
    for mine, theirs in zip(*_unshared(*lines), strict=False):
        found.append(f"recipe: {mine} / {theirs}")
    if not found and there != asked:
        found.append("recipe or format")
    return found


def _unshared(first: list[str], second: list[str]) -> tuple[list[str], list[str]]:
    """The lines of each that the other does not have, filled up to one length."""
    mine = [line for line in first if line not in second]
    theirs = [line for line in second if line not in first]
    length = max(len(mine), len(theirs))
    return mine + ["-"] * (length - len(mine)), theirs + ["-"] * (length - len(theirs))


def _write(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old or the new one, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        raise ResourceError(f"can't write {path}: {error.strerror or error}.") from error
