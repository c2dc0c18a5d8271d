"""A suite: a TOML file that says which runs are to be compared."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from metricforge.bench.records import Record, identity
from metricforge.errors import UsageError, unknown
from metricforge.runs.recipe import Recipe
from metricforge.tuning import carried_out

KEYS = ("title", "about", "baseline", "seeds", "folds", "numbers", "base", "budget", "tune", "axes",
        "approach", "also")  # fmt: skip
FEWEST_FOLDS = 3
JOINED = " · "
"""Between the parts of an approach's name."""

BUDGETS = ("epochs", "images", "seconds")
TUNING = ("trials", "options", "search")

TRIAL_SEED = 1_000_000
"""The seed of all trials, which no run has that is tested."""


@dataclass(frozen=True)
class Approach:
    """A row of the table: a name, and the options in which it differs from the base.

    `tune` are further options to search, those of what this approach alone has.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    tune: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tuning:
    """How many trials each approach has, of which options, and who chooses (None: as installed)."""

    trials: int
    options: tuple[str, ...] = ()
    search: str | None = None


@dataclass(frozen=True)
class Elsewhere:
    """A further test of each trained model, on another dataset that it never saw."""

    name: str
    dataset: str
    protocols: tuple[str, ...]


@dataclass(frozen=True)
class Suite:
    """What a suite's file says.

    Each approach is trained with each of the seeds 0 .. `seeds` - 1, and with `folds` on each of so
    many class-disjoint folds, all from the recipe `base`. `baseline` is the approach that others
    are compared with, or the name that it has in [[approach]]; `numbers` are those that the table
    shows, in order (none: all there are).
    """

    name: str
    title: str
    base: Mapping[str, Any]
    approaches: tuple[Approach, ...]
    baseline: str
    seeds: int = 1
    folds: int | None = None
    numbers: tuple[str, ...] = ()
    elsewhere: tuple[Elsewhere, ...] = ()
    tuning: Tuning | None = None
    about: str = ""

    @classmethod
    def read(cls, path: Path) -> Suite:
        """The suite in a file; UsageError for anything that it can't mean."""
        try:
            said = tomllib.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"can't read the suite {path}: {error}.") from error
        for key in said:
            if key not in KEYS:
                raise unknown(f"key in {path}:", key, KEYS)
        base = {**_table(said, "base", path), **_budget(_table(said, "budget", path), path)}
        approaches = tuple(_approaches(said, path))
        suite = cls(
            name=path.stem,
            title=_typed(said, "title", str, path, path.stem),
            base=base,
            approaches=approaches,
            baseline=_typed(said, "baseline", str, path, approaches[0].name),
            seeds=_at_least_one(said, "seeds", path) or 1,
            folds=_at_least_one(said, "folds", path),
            numbers=_texts(said, "numbers", path),
            elsewhere=tuple(_elsewhere(said, path)),
            tuning=_tuning(said, path),
            about=_typed(said, "about", str, path, ""),
        )
        suite._check(path)
        return suite

    def _check(self, path: Path) -> None:
        names = [approach.name for approach in self.approaches]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(f"{path} has two approaches by the name '{twice[0]}'.")
        if self.baseline_among(names) is None:
            raise unknown(f"baseline in {path}:", self.baseline, names)
        if self.folds is not None and ("split" in self.base or self.folds < FEWEST_FOLDS):
            raise UsageError(f"{path}: folds are three or more, and leave no choice of a split.")
        for approach in self.approaches:
            if self.tuning and not self.options_to_tune(approach):
                raise UsageError(f"{path}: there is nothing to tune of '{approach.name}'.")
            if approach.tune and not self.tuning:
                raise UsageError(f"{path} has no [tune] that says how many trials to make.")
            Recipe.from_values({**self.base, **approach.options}, str(path))

    def baseline_among(self, names: Sequence[str]) -> str | None:
        """Which of these approaches is the baseline: it, or its first with a choice of the axes."""
        if self.baseline in names:
            return self.baseline
        return next((name for name in names if name.startswith(self.baseline + JOINED)), None)

    def options_to_tune(self, approach: Approach) -> tuple[str, ...]:
        """What is searched of an approach, as KEY=VALUES."""
        return ((*self.tuning.options, *approach.tune)) if self.tuning else ()

    def chosen(self, only: Sequence[str] = ()) -> list[Approach]:
        """The approaches whose name has one of these in it; UsageError if none has."""
        found = [
            approach
            for approach in self.approaches
            if not only or any(part in approach.name for part in only)
        ]
        if not found:
            raise unknown("approach", only[0], [approach.name for approach in self.approaches])
        return found

    def plan(
        self,
        only: Sequence[str] = (),
        tuned: Mapping[str, Mapping[str, str]] | None = None,
    ) -> list[Planned]:
        """Every run, seed by seed, so that a suite that is stopped has a little of everything.

        `only` keeps the approaches whose name has one of these in it; `tuned` are the options that
        trials have chosen, by approach.
        """
        folds: Sequence[int | None] = [None] if self.folds is None else range(self.folds)
        tuned = tuned or {}
        return [
            self.run_of(approach, seed, fold, tuned.get(approach.name, {}))
            for seed, fold, approach in product(range(self.seeds), folds, self.chosen(only))
        ]

    def run_of(
        self, approach: Approach, seed: int, fold: int | None, tuned: Mapping[str, str]
    ) -> Planned:
        """One run of an approach, with the options that trials have chosen."""
        return Planned(approach.name, seed, fold, self._options(approach, seed, fold, tuned), tuned)

    def trial_of(self, approach: Approach, number: int, tried: Mapping[str, str]) -> Planned:
        """A trial of an approach, on the first fold if there are any; its tests stay closed."""
        fold = None if self.folds is None else 0
        options = self._options(approach, TRIAL_SEED, fold, tried) | {"test": False}
        return Planned(approach.name, TRIAL_SEED, fold, options, tried, number)

    def _options(
        self, approach: Approach, seed: int, fold: int | None, tuned: Mapping[str, str]
    ) -> dict[str, Any]:
        options = {**self.base, **approach.options, "seed": seed}
        if fold is not None:
            options["split"] = f"folds:k={self.folds},fold={fold}"
        if tuned:
            recipe = carried_out(Recipe.from_values(options, self.name), tuned)
            fields = dict.fromkeys(key.partition(".")[0] for key in tuned)
            options |= {name: getattr(recipe, name) for name in fields}
        return options

    def identity(self, planned: Planned) -> str:
        """What a run is known by: the same for the same options and tests."""
        return identity(
            {"options": dict(planned.options), "also": [asdict(other) for other in self.elsewhere]}
        )

    def asks_for(self, record: Record) -> bool:
        """Whether a record is of a run that this suite has, not of what it once was."""
        for approach in self.approaches:
            if approach.name == record.approach:
                run = self.run_of(approach, record.seed, record.fold, record.tuned)
                trial = self.trial_of(approach, record.trial or 0, record.tuned)
                asked = run if record.trial is None else trial
                return record.id == self.identity(asked)
        return False


@dataclass(frozen=True)
class Planned:
    """One run of a suite: the options of its recipe, by name.

    `tuned` are those of them that a search has chosen, or for the trial of that number tries.
    """

    approach: str
    seed: int
    fold: int | None
    options: Mapping[str, Any]
    tuned: Mapping[str, str] = field(default_factory=dict)
    trial: int | None = None


def _approaches(said: Mapping[str, Any], path: Path) -> Iterator[Approach]:
    """The approaches that are named, each with every choice of the axes."""
    named = [_named(entry, path) for entry in _typed(said, "approach", list, path, [])]
    axes = [
        [(label, {option: value}) for label, value in _choices(option, values, path)]
        for option, values in _table(said, "axes", path).items()
    ]
    if not named and not axes:
        raise UsageError(f"{path} names nothing to compare; give it [axes] or [[approach]].")
    for first in named or [Approach("")]:
        for choice in product(*axes):
            labels = [label for label in (first.name, *(label for label, _ in choice)) if label]
            options = dict(first.options)
            for _, part in choice:
                options |= part
            yield Approach(JOINED.join(labels), options, first.tune)


def _named(entry: Any, path: Path) -> Approach:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise UsageError(f"{path}: every [[approach]] needs a name.")
    options = {key: value for key, value in entry.items() if key not in ("name", "tune")}
    return Approach(entry["name"], options, _texts(entry, "tune", path))


def _choices(option: str, values: Any, path: Path) -> list[tuple[str, Any]]:
    """The values of an axis by what they are called: themselves, or the name they are given."""
    if isinstance(values, dict) and values:
        return list(values.items())
    if isinstance(values, list) and values:
        # A number needs to be told of what it is.
        named = (value if isinstance(value, str) else f"{option} {value}" for value in values)
        return list(zip(named, values, strict=True))
    raise UsageError(
        f"{path}: the axis {option} takes a list of values, or a table of values by name."
    )


def _elsewhere(said: Mapping[str, Any], path: Path) -> Iterator[Elsewhere]:
    for entry in _typed(said, "also", list, path, []):
        try:
            name, dataset, protocols = (entry[key] for key in ("name", "dataset", "protocols"))
        except (KeyError, TypeError) as error:
            raise UsageError(f"{path}: every [[also]] has name, dataset, protocols.") from error
        yield Elsewhere(str(name), str(dataset), tuple(map(str, protocols)))


def _tuning(said: Mapping[str, Any], path: Path) -> Tuning | None:
    if "tune" not in said:
        return None
    table = _table(said, "tune", path)
    for key in table:
        if key not in TUNING:
            raise unknown(f"key of [tune] in {path}:", key, TUNING)
    trials = _at_least_one(table, "trials", path)
    if trials is None:
        raise UsageError(f"{path}: [tune] says how many trials each approach has, trials = 20.")
    search = _typed(table, "search", str, path, "") or None
    return Tuning(trials, _texts(table, "options", path), search)


def _texts(said: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    """A list of texts."""
    values = _typed(said, key, list, path, [])
    if wrong := [value for value in values if not isinstance(value, str)]:
        raise UsageError(f"{path} has {key} with {wrong[0]!r} in it; it takes texts.")
    return tuple(values)


def _budget(budget: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    for key in budget:
        if key not in BUDGETS:
            raise unknown(f"budget in {path}:", key, BUDGETS)
    return budget


def _table(said: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _typed(said, key, dict, path, {})
    return found


def _typed(said: Mapping[str, Any], key: str, kind: type, path: Path, default: Any) -> Any:
    value = said.get(key, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"{path} has {key} = {value!r}, which must be a {kind.__name__}.")
    return value


def _at_least_one(said: Mapping[str, Any], key: str, path: Path) -> int | None:
    if key not in said:
        return None
    value: int = _typed(said, key, int, path, 1)
    if value < 1:
        raise UsageError(f"{path} has {key} = {value}, which must be at least 1.")
    return value
