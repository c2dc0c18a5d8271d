"""A suite: the runs to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Annotated, Any

from msgspec import Meta

from metricforge.bench.result_file import identity
from metricforge.decoding import Size
from metricforge.errors import unknown
from metricforge.recipes.recipe import Recipe
from metricforge.tuning import carried_out

JOINED = " · "
"""Between the parts of an approach's name."""

TRIAL_SEED = 1_000_000
"""The seed of all trials; no tested run has it."""


Text = Annotated[str, Meta(min_length=1)]


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

    trials: Size
    options: tuple[str, ...] = ()
    search: str | None = None


@dataclass(frozen=True)
class Elsewhere:
    """A further test of each trained model, on another dataset that it never saw."""

    name: Text
    dataset: Text
    protocols: Annotated[tuple[str, ...], Meta(min_length=1)]


Tuned = Mapping[tuple[str, int | None], Mapping[str, str]]
"""The options that trials have chosen, by approach and fold."""


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
    search: str = ""


@dataclass(frozen=True)
class Suite:
    """The content of a suite's file.

    Each approach is trained with each of the seeds 0 .. `seeds` - 1, and with `folds` on each of so
    many class-disjoint folds, all from the recipe `base`. `baseline` is the approach that others
    are compared with, or the name that it has in [[approach]] ("": the first of each table);
    `numbers` are those that the table shows, in order (none: all there are).
    """

    name: str
    title: str
    base: Mapping[str, Any]
    approaches: tuple[Approach, ...]
    baseline: str = ""
    seeds: int = 1
    folds: int | None = None
    numbers: tuple[str, ...] = ()
    elsewhere: tuple[Elsewhere, ...] = ()
    tuning: Tuning | None = None
    about: str = ""

    def is_baseline(self, approach: str) -> bool:
        """Whether others are compared with it: by its name, or the beginning of that."""
        return approach == self.baseline or approach.startswith(self.baseline + JOINED)

    def baseline_of(self, approach: str, names: Sequence[str]) -> str:
        """The baseline of an approach among these; "" for none.

        Of several baselines it is the one with the same choices of the other axes.
        """
        if not self.baseline:
            return names[0] if names else ""
        baselines = [name for name in names if self.is_baseline(name)]
        if len(baselines) > 1:
            choices = approach.split(JOINED)[len(self.baseline.split(JOINED)) :]
            baselines = [
                name for name in baselines if name == JOINED.join([self.baseline, *choices])
            ]
        return baselines[0] if baselines else ""

    def data_of(self, approach: Approach) -> tuple[Any, Any]:
        """The dataset and the split of an approach, as the suite's file has them."""
        options = {**self.base, **approach.options}
        return options.get("dataset"), options.get("split")

    def options_to_tune(self, approach: Approach) -> tuple[str, ...]:
        """The search space of an approach, as KEY=VALUES."""
        return (*self.tuning.options, *approach.tune) if self.tuning else ()

    def matching(self, only: Sequence[str] = ()) -> list[Approach]:
        """The approaches of these names, or with one of them in theirs if none matches exactly.

        UsageError for one that is in no name.
        """
        names = [approach.name for approach in self.approaches]
        selected: set[str] = set()
        for part in only:
            matches = [part] if part in names else [name for name in names if part in name]
            if not matches:
                raise unknown("approach", part, names)
            selected.update(matches)
        return [approach for approach in self.approaches if not only or approach.name in selected]

    @property
    def trials(self) -> int:
        """The number of trials of all approaches, on all folds."""
        return self.tuning.trials * len(self.approaches) * len(self.each_fold) if self.tuning else 0

    @property
    def each_fold(self) -> Sequence[int | None]:
        """The numbers of the folds; [None] if there are none."""
        return [None] if self.folds is None else range(self.folds)

    def plan(self, tuned: Tuned | None = None) -> list[Planned]:
        """Every run, seed by seed, so that a suite that is stopped has a little of everything.

        With `tuned` it has the options that trials have chosen, and skips approaches without any.
        """
        return [
            self.run_of(approach, seed, fold, {} if tuned is None else tuned[approach.name, fold])
            for seed, fold, approach in product(range(self.seeds), self.each_fold, self.approaches)
            if tuned is None or (approach.name, fold) in tuned
        ]

    def run_of(
        self, approach: Approach, seed: int, fold: int | None, tuned: Mapping[str, str]
    ) -> Planned:
        """One run of an approach, with the options that trials have chosen."""
        return Planned(approach.name, seed, fold, self._options(approach, seed, fold, tuned), tuned)

    def trial_of(
        self,
        approach: Approach,
        fold: int | None,
        search: str,
        number: int,
        tried: Mapping[str, str],
    ) -> Planned:
        """A trial of an approach on a fold, whose test classes stay closed."""
        options = self._options(approach, TRIAL_SEED, fold, tried) | {"test": False}
        return Planned(approach.name, TRIAL_SEED, fold, options, tried, number, search)

    def _options(
        self, approach: Approach, seed: int, fold: int | None, tuned: Mapping[str, str]
    ) -> dict[str, Any]:
        options = {**self.base, **approach.options, "seed": seed}
        if fold is not None:
            options["split"] = f"folds:k={self.folds},fold={fold}"
        if tuned:
            record = carried_out(Recipe.from_values(options, self.name), tuned).record()
            options |= {name: record[name] for name in {key.partition(".")[0]: 0 for key in tuned}}
        return options

    def identity(self, planned: Planned) -> str:
        """The id of a run: the same for the same approach, options and tests."""
        known: dict[str, Any] = {"suite": self.name, "approach": planned.approach}
        known["options"] = dict(planned.options)
        if planned.trial is None and self.elsewhere:
            known["also"] = [asdict(other) for other in self.elsewhere]
        return identity(known)
