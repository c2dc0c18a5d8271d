"""From a suite's file to the suite, or one sentence on why it can't be meant."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from metricforge.bench.suite import JOINED, Approach, Elsewhere, Suite, Tuning
from metricforge.bench.table import BASELINES
from metricforge.errors import UsageError, unknown
from metricforge.recipes.recipe import Recipe
from metricforge.spec import Spec

KEYS = ("title", "about", "baseline", "seeds", "folds", "numbers", "base", "budget", "tune", "axes",
        "approach", "also")  # fmt: skip
BUDGETS = ("epochs", "images", "seconds")
TUNING = ("trials", "options", "search")
ELSEWHERE = ("name", "dataset", "protocols")
LENGTHS = (*BUDGETS, "patience")
"""What decides how long a run is trained, and so no approach's own where there is a budget."""

OWN = ("seed", "test")
"""Options of a recipe that the suite itself gives to each run."""

FEWEST_FOLDS = 3
"""One to test, one to validate, one to train."""

WRITTEN = {str: "a text", int: "a whole number", list: "a list", dict: "a table"}
"""What TOML's values are called."""


def read_suite(path: Path) -> Suite:
    """The suite in a file; UsageError for anything that it can't mean."""
    try:
        said = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"can't read the suite {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"can't read the suite {path}: {error}.") from error
    source = str(path)
    _known(said, KEYS, f"key in {source}:")
    budget = _table(said, "budget", source)
    _known(budget, BUDGETS, f"budget in {source}:")
    if len(budget) > 1:
        raise UsageError(f"{source} has a [budget] of {' and '.join(budget)}; give one of them.")
    base = {**_table(said, "base", source), **budget}
    approaches = tuple(_approaches(said, source))
    suite = Suite(
        name=path.stem,
        title=_typed(said, "title", str, source, path.stem),
        base=base,
        approaches=approaches,
        baseline=_typed(said, "baseline", str, source, ""),
        seeds=_at_least_one(said, "seeds", source) or 1,
        folds=_at_least_one(said, "folds", source),
        numbers=_texts(said, "numbers", source),
        elsewhere=tuple(_elsewhere(said, source)),
        tuning=_tuning(said, source),
        about=_typed(said, "about", str, source, ""),
    )
    _check(suite, budget, source)
    return suite


def _check(suite: Suite, budget: Mapping[str, Any], source: str) -> None:
    names = [approach.name for approach in suite.approaches]
    _once(names, f"{source} has two approaches by the name")
    for name in names:
        # An untrained network of several is "untrained network (backbone ...)".
        if name.partition(" (")[0] in BASELINES.values():
            raise UsageError(f"{source} has an approach '{name}', which every table has by itself.")
    if suite.baseline and not any(suite.is_baseline(name) for name in names):
        raise unknown(f"baseline in {source}:", suite.baseline, names)
    if suite.folds is not None and suite.folds < FEWEST_FOLDS:
        raise UsageError(
            f"{source} has folds = {suite.folds}, which must be {FEWEST_FOLDS} or more: one to "
            "test, one to validate, the others to train."
        )
    for options in (suite.base, *(approach.options for approach in suite.approaches)):
        for key in OWN:
            if key in options:
                raise UsageError(f"{source} gives {key}, which a suite gives to each run itself.")
        if suite.folds is not None and "split" in options:
            raise UsageError(f"{source} has folds, which leave no choice of a split.")
    for approach in suite.approaches:
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
        Recipe.from_values({**suite.base, **approach.options}, source)


def _is_its_own(key: str, options: Mapping[str, Any]) -> bool:
    """Whether an approach says itself what KEY or COMPONENT.OPTION is."""
    component, _, option = key.partition(".")
    if not option or component not in options:
        return component in options
    return option in Spec.parse(options[component]).options


def _approaches(said: Mapping[str, Any], source: str) -> Iterator[Approach]:
    """The approaches that are named, each with every choice of the axes."""
    named = [_named(entry, source) for entry in _tables(said, "approach", source)]
    values = _table(said, "axes", source)
    axes = [
        [(label, {option: value}) for label, value in _choices(option, choices, source)]
        for option, choices in values.items()
    ]
    if not named and not axes:
        raise UsageError(f"{source} names nothing to compare; give it [axes] or [[approach]].")
    for first in named or [Approach("")]:
        if both := [option for option in values if option in first.options]:
            raise UsageError(f"'{first.name}' in {source} has {both[0]}, which is an axis, too.")
        for choice in product(*axes):
            labels = [label for label in (first.name, *(label for label, _ in choice)) if label]
            options = dict(first.options)
            for _, part in choice:
                options |= part
            yield Approach(JOINED.join(labels), options, first.tune)


def _named(entry: Mapping[str, Any], source: str) -> Approach:
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise UsageError(f"{source}: every [[approach]] needs a name.")
    options = {key: value for key, value in entry.items() if key not in ("name", "tune")}
    _check_part(name, source)
    return Approach(name, options, _texts(entry, "tune", source))


def _choices(option: str, values: Any, source: str) -> list[tuple[str, Any]]:
    """The values of an axis by what they are called: themselves, or the name they are given."""
    if isinstance(values, dict) and values:
        choices = list(values.items())
    elif isinstance(values, list) and values:
        # A number needs to be told of what it is.
        named = (value if isinstance(value, str) else f"{option} {value}" for value in values)
        choices = list(zip(named, values, strict=True))
    else:
        raise UsageError(
            f"{source}: the axis {option} takes a list of values, or a table of values by name."
        )
    for label, _ in choices:
        _check_part(label, source)
    return choices


def _check_part(label: str, source: str) -> None:
    """UsageError for what can't be told from other parts of an approach's name."""
    if not label.strip() or JOINED in label:
        raise UsageError(f"{source}: '{label}' can't be a name, or a part of one.")


def _elsewhere(said: Mapping[str, Any], source: str) -> Iterator[Elsewhere]:
    entries = _tables(said, "also", source)
    for entry in entries:
        _known(entry, ELSEWHERE, f"key of [[also]] in {source}:")
        name, dataset = (_typed(entry, key, str, source, "") for key in ("name", "dataset"))
        protocols = _texts(entry, "protocols", source)
        if not (name and dataset and protocols):
            raise UsageError(f"{source}: every [[also]] has {', '.join(ELSEWHERE)}.")
        yield Elsewhere(name, dataset, protocols)
    _once((entry["name"] for entry in entries), f"{source} has two [[also]] by the name")


def _tuning(said: Mapping[str, Any], source: str) -> Tuning | None:
    if "tune" not in said:
        return None
    table = _table(said, "tune", source)
    _known(table, TUNING, f"key of [tune] in {source}:")
    trials = _at_least_one(table, "trials", source)
    if trials is None:
        raise UsageError(f"{source}: [tune] says how many trials each approach has, trials = 20.")
    search = _typed(table, "search", str, source, "") or None
    return Tuning(trials, _texts(table, "options", source), search)


def _known(said: Mapping[str, Any], keys: Iterable[str], what: str) -> None:
    keys = tuple(keys)
    for key in said:
        if key not in keys:
            raise unknown(what, key, keys)


def _once(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UsageError(f"{what} '{name}'.")
        seen.add(name)


def _tables(said: Mapping[str, Any], key: str, source: str) -> list[Mapping[str, Any]]:
    entries = _typed(said, key, list, source, [])
    if not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{source}: {key} is written as [[{key}]], with options below it.")
    found: list[Mapping[str, Any]] = entries
    return found


def _table(said: Mapping[str, Any], key: str, source: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _typed(said, key, dict, source, {})
    return found


def _texts(said: Mapping[str, Any], key: str, source: str) -> tuple[str, ...]:
    """A list of texts."""
    values = _typed(said, key, list, source, [])
    if wrong := [value for value in values if not isinstance(value, str)]:
        raise UsageError(f"{source} has {key} with {wrong[0]!r} in it; it takes texts.")
    return tuple(values)


def _typed(said: Mapping[str, Any], key: str, kind: type, source: str, default: Any) -> Any:
    value = said.get(key, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"{source} has {key} = {value!r}, which must be {WRITTEN[kind]}.")
    return value


def _at_least_one(said: Mapping[str, Any], key: str, source: str) -> int | None:
    if key not in said:
        return None
    value: int = _typed(said, key, int, source, 1)
    if value < 1:
        raise UsageError(f"{source} has {key} = {value}, which must be at least 1.")
    return value
