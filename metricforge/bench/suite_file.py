"""Reads a suite's file; a UsageError says why one is invalid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from metricforge.bench.suite import JOINED, Approach, Elsewhere, Suite, Tuning
from metricforge.bench.table import BASELINES
from metricforge.decoding import Size, parsed_toml, typed
from metricforge.errors import UsageError, unknown
from metricforge.recipes.recipe import Recipe
from metricforge.regular_file import read_text
from metricforge.spec import Spec

LENGTHS = ("epochs", "images", "seconds", "patience")
"""The options that limit a training; with a [budget] no approach may set its own."""

OWN = ("seed", "test")
"""Options of a recipe that the suite itself gives to each run."""


class _ApproachEntry(TypedDict):
    """An [[approach]]; its other keys are options of a recipe."""

    name: str
    tune: NotRequired[list[str]]


@dataclass(frozen=True)
class _Budget:
    epochs: int | None = None
    images: int | None = None
    seconds: int | float | None = None


@dataclass(frozen=True)
class _File:
    title: str = ""
    about: str = ""
    baseline: str = ""
    seeds: Size = 1
    # One to test, one to validate, one to train.
    folds: Annotated[int, Meta(ge=3)] | None = None
    numbers: tuple[str, ...] = ()
    base: Mapping[str, Any] = field(default_factory=dict)
    budget: _Budget = _Budget()
    tune: Tuning | None = None
    axes: Mapping[str, Any] = field(default_factory=dict)
    approach: tuple[_ApproachEntry, ...] = ()
    also: tuple[Elsewhere, ...] = ()


def read_suite(path: Path) -> Suite:
    """The suite in a file; UsageError if it is invalid."""
    try:
        written = parsed_toml(read_text(path))
        content = typed(written, _File, closed=True)
    except OSError as error:
        raise UsageError(f"can't read the suite {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"can't read the suite {path}: {error}.") from error
    source = str(path)
    budget = {key: value for key, value in vars(content.budget).items() if value is not None}
    if len(budget) > 1:
        raise UsageError(f"{source} has a [budget] of {' and '.join(budget)}; give one of them.")
    # From the file itself: the types above omit the options of an approach.
    approaches = [_approach(entry, source) for entry in written.get("approach", ())]
    suite = Suite(
        name=path.stem,
        title=content.title or path.stem,
        base={**content.base, **budget},
        approaches=tuple(_approaches(approaches, content.axes, source)),
        baseline=content.baseline,
        seeds=content.seeds,
        folds=content.folds,
        numbers=content.numbers,
        elsewhere=content.also,
        tuning=content.tune,
        about=content.about,
    )
    _check(suite, budget, source)
    return suite


def _check(suite: Suite, budget: Mapping[str, Any], source: str) -> None:
    names = [approach.name for approach in suite.approaches]
    _once(names, f"{source} has two approaches by the name")
    _once((other.name for other in suite.elsewhere), f"{source} has two [[also]] by the name")
    for name in names:
        # An untrained network of several is "untrained network (backbone ...)".
        if name.partition(" (")[0] in BASELINES.values():
            raise UsageError(f"{source} has an approach '{name}', which every table has by itself.")
    if suite.baseline and not any(suite.is_baseline(name) for name in names):
        raise unknown(f"baseline in {source}:", suite.baseline, names)
    for options in (suite.base, *(approach.options for approach in suite.approaches)):
        for key in OWN:
            if key in options:
                raise UsageError(f"{source} gives {key}, which a suite gives to each run itself.")
        if suite.folds is not None and "split" in options:
            raise UsageError(f"{source} has folds, which leave no choice of a split.")
    for approach in suite.approaches:
        _check_approach(suite, approach, budget, source)


def _check_approach(
    suite: Suite, approach: Approach, budget: Mapping[str, Any], source: str
) -> None:
    Recipe.from_values({**suite.base, **approach.options}, source).specs_only(source)
    searched = [text.partition("=")[0] for text in suite.options_to_tune(approach)]
    for key in LENGTHS if budget else ():
        if key in (*approach.options, *searched):
            raise UsageError(
                f"'{approach.name}' in {source} has {key} of its own, but [budget] is the same "
                "for all."
            )
    if suite.tuning and not searched:
        raise UsageError(f"{source}: there is nothing to tune of '{approach.name}'.")
    for key in searched:
        if _is_its_own(key, approach.options):
            raise UsageError(
                f"{source} tunes {key}, which is what '{approach.name}' is compared for."
            )
    if approach.tune and not suite.tuning:
        raise UsageError(f"{source} has no [tune] that says how many trials to make.")


def _is_its_own(key: str, options: Mapping[str, Any]) -> bool:
    """Whether an approach sets KEY or COMPONENT.OPTION itself."""
    component, _, option = key.partition(".")
    if not option or component not in options:
        return component in options
    value = options[component]
    return isinstance(value, str) and option in Spec.parse(value).options


def _approach(entry: Mapping[str, Any], source: str) -> Approach:
    options = {key: value for key, value in entry.items() if key not in ("name", "tune")}
    _check_part(entry["name"], source)
    return Approach(entry["name"], options, tuple(entry.get("tune", ())))


def _approaches(
    entries: Sequence[Approach], values: Mapping[str, Any], source: str
) -> Iterator[Approach]:
    """The [[approach]] entries, each with every choice of the axes."""
    axes = [
        [(label, {option: value}) for label, value in _choices(option, choices, source)]
        for option, choices in values.items()
    ]
    if not entries and not axes:
        raise UsageError(f"{source} names nothing to compare; give it [axes] or [[approach]].")
    for entry in entries or [Approach("")]:
        if both := [option for option in values if option in entry.options]:
            raise UsageError(f"'{entry.name}' in {source} has {both[0]}, which is an axis, too.")
        for choice in product(*axes):
            labels = [label for label in (entry.name, *(label for label, _ in choice)) if label]
            options = dict(entry.options)
            for _, part in choice:
                options |= part
            yield Approach(JOINED.join(labels), options, entry.tune)


def _choices(option: str, values: Any, source: str) -> list[tuple[str, Any]]:
    """The labels and values of an axis; a label is the value itself, or its name in the file."""
    if isinstance(values, dict) and values:
        choices = list(values.items())
    elif isinstance(values, list) and values:
        # The label of a number includes its option.
        labels = (value if isinstance(value, str) else f"{option} {value}" for value in values)
        choices = list(zip(labels, values, strict=True))
    else:
        raise UsageError(
            f"{source}: the axis {option} takes a list of values, or a table of values by name."
        )
    for label, _ in choices:
        _check_part(label, source)
    return choices


def _check_part(label: str, source: str) -> None:
    """UsageError for a label that could be confused with other parts of an approach's name."""
    if not label.strip() or JOINED in label:
        raise UsageError(f"{source}: '{label}' can't be a name, or a part of one.")


def _once(names: Iterable[str], what: str) -> None:
    visited: set[str] = set()
    for name in names:
        if name in visited:
            raise UsageError(f"{what} '{name}'.")
        visited.add(name)
