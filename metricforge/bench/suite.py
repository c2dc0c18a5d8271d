"""A suite: a TOML file that says which runs are to be compared."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from metricforge.errors import UsageError, unknown
from metricforge.runs.recipe import Recipe

KEYS = ("title", "about", "baseline", "seeds", "folds", "numbers", "base", "budget", "axes",
        "approach", "also")  # fmt: skip
FEWEST_FOLDS = 3
JOINED = " · "
"""Between the parts of an approach's name."""

BUDGETS = ("epochs", "images", "seconds")


@dataclass(frozen=True)
class Approach:
    """A row of the table: a name, and the options in which it differs from the base."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


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
            numbers=tuple(_typed(said, "numbers", list, path, [])),
            elsewhere=tuple(_elsewhere(said, path)),
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
            Recipe.from_values({**self.base, **approach.options}, str(path))

    def baseline_among(self, names: Sequence[str]) -> str | None:
        """Which of these approaches is the baseline: it, or its first with a choice of the axes."""
        if self.baseline in names:
            return self.baseline
        return next((name for name in names if name.startswith(self.baseline + JOINED)), None)

    def plan(self, only: Sequence[str] = ()) -> list[Planned]:
        """Every run, seed by seed, so that a suite that is stopped has a little of everything.

        `only` keeps the approaches whose name has one of these in it; UsageError if none has.
        """
        chosen = [
            approach
            for approach in self.approaches
            if not only or any(part in approach.name for part in only)
        ]
        if not chosen:
            raise unknown("approach", only[0], [approach.name for approach in self.approaches])
        folds: Sequence[int | None] = [None] if self.folds is None else range(self.folds)
        return [
            Planned(approach.name, seed, fold, self._options(approach, seed, fold))
            for seed, fold, approach in product(range(self.seeds), folds, chosen)
        ]

    def _options(self, approach: Approach, seed: int, fold: int | None) -> dict[str, Any]:
        options = {**self.base, **approach.options, "seed": seed}
        if fold is not None:
            options["split"] = f"folds:k={self.folds},fold={fold}"
        return options


@dataclass(frozen=True)
class Planned:
    """One run of a suite: the options of its recipe, by name."""

    approach: str
    seed: int
    fold: int | None
    options: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What the run is called where it is told of."""
        fold = "" if self.fold is None else f", fold {self.fold}"
        return f"{self.approach}, seed {self.seed}{fold}"


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
            yield Approach(JOINED.join(labels), options)


def _named(entry: Any, path: Path) -> Approach:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise UsageError(f"{path}: every [[approach]] needs a name.")
    return Approach(entry["name"], {key: value for key, value in entry.items() if key != "name"})


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
