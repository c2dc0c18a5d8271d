"""Comparing runs: the same held-out queries and episodes, and paired differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import Dataset, Estimate, EvaluationProtocol, Result
from metricforge.data.images import fingerprint
from metricforge.data.split import Split
from metricforge.errors import DataError, UsageError
from metricforge.evaluation import over_differences, over_seeds, over_two_groups
from metricforge.judging.own_dataset import open_own_dataset, own_split
from metricforge.judging.protocols import USUAL_PROTOCOLS
from metricforge.judging.subject import load_model
from metricforge.model import EmbeddingModel
from metricforge.recipes.components import make_protocol
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.run import Run
from metricforge.scoring.apply import wants_validation
from metricforge.scoring.embed import embed
from metricforge.scoring.measure import (
    Embedded,
    lower_is_better,
    lowest,
    results_of,
    shared_notes,
)
from metricforge.spec import Spec


@dataclass(frozen=True)
class Comparison:
    """The metrics of runs on the same images, and the difference of each run from the first.

    A difference is that of the run minus the first run, with a 95 % interval over the same queries
    or episodes. Runs that differ only in their seed are a group, under the name of its first run.

    Args:
        results: Metrics by run, then by name.
        differences: Differences from the first run, by run, then by the metric's name.
        better: For each metric the run that is better than every other by an interval without zero,
            or None.
        dataset: Name of the dataset.
        classes: Names of the test classes.
        images: Number of test images.
        closed_set: Whether the test classes are training classes too, by design.
        notes: Sentences for the user.
        seeds: Means over seeds by group, with intervals over seeds.
        seed_differences: Differences of the groups from the first group, where each has two seeds.
    """

    results: Mapping[str, Mapping[str, Estimate]]
    differences: Mapping[str, Mapping[str, Estimate]]
    better: Mapping[str, str | None]
    dataset: str
    classes: tuple[str, ...]
    images: int
    closed_set: bool
    notes: tuple[str, ...] = ()
    seeds: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    seed_differences: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain values for JSON."""
        return {
            "dataset": self.dataset,
            "classes": list(self.classes),
            "images": self.images,
            "closed_set": self.closed_set,
            "results": _plain(self.results),
            "differences": _plain(self.differences),
            "better": dict(self.better),
            "notes": list(self.notes),
            "seeds": _plain(self.seeds),
            "seed_differences": _plain(self.seed_differences),
        }


def compare(
    runs: Sequence[Run | str | Path],
    *,
    protocols: Sequence[str] = USUAL_PROTOCOLS,
    data_root: str | None = None,
    device: str = "auto",
    registry: Registry | None = None,
) -> Comparison:
    """Evaluate runs on their test classes, which must be the same, and their paired differences.

    Args:
        runs: Two or more runs, or their folders.
        protocols: Specs of the protocols. Default: retrieval and oneshot.
        data_root: Folder of the datasets. Default: that of the first run's recipe.
        device: "auto", "cpu", "cuda" or "mps".
        registry: Registry of components. Default: what is installed.

    Returns:
        The metrics of each run and their differences from the first run.

    Raises:
        DataError: The held-out images of the runs differ, or one was trained on the test classes of
            the others.
        UsageError: There are fewer than two runs.
    """
    if isinstance(runs, str | Path):
        raise UsageError(f"compare takes a list of runs, [{str(runs)!r}, ...].")
    registry = registry or Registry.installed()
    opened = {str(run.path): run for run in map(_opened, runs)}
    if len({run.path.resolve() for run in opened.values()}) < max(2, len(opened)):
        raise UsageError("comparing needs two runs or more, in folders of their own.")
    first = next(iter(opened.values()))
    dataset = open_own_dataset(first, registry, data_root)
    splits = _of_same_test_images(opened, dataset)
    split = splits[str(first.path)]
    measures = {text: make_protocol(registry, Spec.parse(text)) for text in protocols}
    results: dict[str, list[Result]] = {}
    for name, run in opened.items():
        model = load_model(run.path, device, registry)
        if not split.closed_set:
            _refuse_overlap(name, model, split.classes("test", dataset))
        results[name] = _results(name, measures, model, dataset, splits[name])
        record = {"part": "test", "split_hash": splits[name].hash, "by": "compare"}
        run.folder.append(run.folder.evaluations, record)
    merged = {name: _merged(each) for name, each in results.items()}
    apart = {
        pair: paired_differences(merged[pair[0]], merged[pair[1]])
        for pair in combinations(merged, 2)
    }
    groups = _by_seed(opened, merged)
    return Comparison(
        results={name: result.estimates for name, result in merged.items()},
        differences={
            name: estimates for (base, name), estimates in apart.items() if base == str(first.path)
        },
        better=_better(merged, apart),
        dataset=dataset.name,
        classes=split.classes("test", dataset),
        images=len(split.test),
        closed_set=split.closed_set,
        notes=shared_notes(results),
        seeds={
            name: {
                number: over_seeds(values, least=lowest(number))
                for number, values in numbers.items()
            }
            for name, numbers in groups.items()
        },
        seed_differences=_apart(groups),
    )


def _by_seed(
    runs: Mapping[str, Run], results: Mapping[str, Result]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """The metrics of runs that differ only in their seed, by the first of each group of two."""
    alike: dict[str, dict[int, str]] = {}
    aside = Recipe().aside()  # what has no influence on the result
    for name, run in runs.items():
        # Each seed once: a second run of it is the same training.
        # One that was trained longer followed several schedules, which its recipe does not say.
        recipe = f"{run.folder.extended_after} {run.recipe.but(**aside, seed=0).to_toml()}"
        by_seed = alike.setdefault(recipe, {})
        by_seed.setdefault(run.recipe.seed, name)
    groups = [list(by_seed.values()) for by_seed in alike.values()]
    return {
        names[0]: {
            number: np.array([results[name].estimates[number].value for name in names])
            for number in results[names[0]].estimates
        }
        for names in groups
        if len(names) > 1
    }


def _apart(
    groups: Mapping[str, Mapping[str, NDArray[np.float64]]],
) -> dict[str, dict[str, Estimate]]:
    """The differences of the groups from the first, over seeds."""
    if not groups:
        return {}
    first, *remaining = groups
    return {
        name: {
            number: over_two_groups(groups[first][number], values)
            for number, values in groups[name].items()
            if number in groups[first]
        }
        for name in remaining
    }


def _refuse_overlap(name: str, model: EmbeddingModel, tested: Sequence[str]) -> None:
    """DataError for a model trained on the test classes: it may have replaced the run's own."""
    if overlap := sorted(set(tested) & set(model.card.seen_classes)):
        raise DataError(
            f"the model in {name} was trained or selected on {len(overlap)} of the test classes, "
            f"such as {', '.join(overlap[:5])}: nothing can be told of it there."
        )


def _opened(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else Run.open(run)


def _of_same_test_images(runs: Mapping[str, Run], dataset: Dataset) -> dict[str, Split]:
    """The splits of runs that test on the same images; DataError if they don't."""
    splits: dict[str, Split] = {}
    expected = fingerprint(dataset)
    for name, run in runs.items():
        first = next(iter(splits), None)
        if run.folder.split.dataset_fingerprint != expected:
            raise DataError(
                f"{name} was trained on '{run.recipe.dataset}', whose images or labels "
                f"are not those of '{dataset.name}' as {first or 'it is now'}; compare runs on the "
                "same images."
            )
        splits[name] = own_split(run, dataset)
        if first is None:
            continue
        if not splits[name].test.equal(splits[first].test):
            raise DataError(_how_they_differ(dataset, first, name, splits))
        if splits[name].closed_set != splits[first].closed_set:
            raise DataError(f"of {first} and {name} one is closed set and the other is not.")
    return splits


def _how_they_differ(dataset: Dataset, first: str, second: str, splits: Mapping[str, Split]) -> str:
    """A sentence on the test classes of one run that the other lacks or was trained on."""
    split = splits[second]
    a, b = (set(splits[run].classes("test", dataset)) for run in (first, second))
    leaked = a & {name for part in ("train", "validation") for name in split.classes(part, dataset)}
    differences = [
        f"{len(only)} of {run} alone, e.g. {', '.join(sorted(only)[:5])}"
        for run, only in ((first, a - b), (second, b - a))
        if only
    ]
    what = " and ".join(differences) if differences else "other images of the same classes"
    trained = (
        f"; {second} was trained or selected on {len(leaked)} that {first} is tested on, e.g. "
        f"{', '.join(sorted(leaked)[:5])}"
        if leaked and not split.closed_set
        else ""
    )
    return (
        f"{first} and {second} have other test classes: {what}{trained}; train both with the same "
        "--split."
    )


def _results(
    name: str,
    protocols: Mapping[str, EvaluationProtocol],
    model: EmbeddingModel,
    dataset: Dataset,
    split: Split,
) -> list[Result]:
    """The results of each protocol on a run."""

    def part(indices: Tensor) -> Embedded:
        return embed({name: model}, dataset, indices, baselines=False)

    needs_validation = any(wants_validation(protocol) for protocol in protocols.values())
    validation = part(split.validation) if needs_validation and len(split.validation) else None
    return results_of(name, part(split.test), protocols, dataset, validation)


def _merged(results: Sequence[Result]) -> Result:
    """The metrics of all protocols, with their scores."""
    return Result(
        {name: value for result in results for name, value in result.estimates.items()},
        scores={name: value for result in results for name, value in result.scores.items()},
    )


def paired_differences(first: Result, second: Result) -> dict[str, Estimate]:
    """Second minus first, for the metrics that have scores of the same units."""
    return {
        name: over_differences(
            scored.values, second.scores[name].values, scored.classes, over=scored.over
        )
        for name, scored in first.scores.items()
        if name in second.scores and len(scored.values) == len(second.scores[name].values)
    }


def _better(
    results: Mapping[str, Result], apart: Mapping[tuple[str, str], Mapping[str, Estimate]]
) -> dict[str, str | None]:
    """For each metric the run that is better than every other, if that is certain."""
    scores = next(iter(results.values())).scores
    wins = {name: Counter[str]() for name in scores}
    for (first, second), differences in apart.items():
        for name, difference in differences.items():
            # An interval over seeds does not cover other images or episodes.
            if scores[name].over != "seeds" and not difference.low <= 0 <= difference.high:
                more = (difference.low > 0) != lower_is_better(name)
                wins[name][second if more else first] += 1
    return {
        name: next((run for run in results if won[run] == len(results) - 1), None)
        for name, won in wins.items()
    }


def _plain(numbers: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, Any]]:
    return {
        run: {name: asdict(estimate) for name, estimate in estimates.items()}
        for run, estimates in numbers.items()
    }
