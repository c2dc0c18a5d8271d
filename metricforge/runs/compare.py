"""Comparing runs: the same held-out queries and episodes, and differences in pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import Dataset, Estimate, EvaluationProtocol, Result, Validation
from metricforge.data.images import fingerprint
from metricforge.data.split import Split
from metricforge.errors import DataError, UsageError
from metricforge.evaluation import over_differences, over_seeds, over_two_groups
from metricforge.model import EmbeddingModel
from metricforge.registry import Registry
from metricforge.runs.components import make_dataset, make_protocol
from metricforge.runs.evaluate import embedded, load_model
from metricforge.runs.measure import TRAINED
from metricforge.runs.parts import own_split
from metricforge.runs.questions import USUAL_PROTOCOLS
from metricforge.runs.recipe import described
from metricforge.runs.run import Run
from metricforge.runs.selection import evaluated, labelled_part, wants_validation

# Of these the smaller number is the better one.
ERRORS = ("error", "eer", "far@", "frr@")


@dataclass(frozen=True)
class Comparison:
    """The numbers of runs on the same images, and by how much each differs from the first.

    `results` and `differences` are by run, then by the name of the number; a difference is that
    of the run less the first run, with a 95 % interval over the same queries or episodes.
    `better` names, for each number, the run that is better than the first and all others for
    sure, by intervals that leave out zero, or has None. Of runs that differ in their seed alone,
    `seeds` has the means over seeds by the first of them, with intervals over seeds, and
    `seed_differences` those of the others less the first such group, where each has two seeds.
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
    """Measure runs on their test classes, which must be the same, and what differs in pairs.

    Raises DataError for runs whose held-out images differ, or of which one was trained on the
    test classes of the others, UsageError for fewer than two runs.
    """
    if isinstance(runs, str | Path):
        raise UsageError(f"compare takes a list of runs, [{str(runs)!r}, ...].")
    registry = registry or Registry.installed()
    opened = {str(run.path): run for run in map(_opened, runs)}
    if len(opened) < 2:
        raise UsageError("comparing needs two runs or more, in folders of their own.")
    first = next(iter(opened.values()))
    dataset = make_dataset(
        registry, str(first.recipe.dataset), data_root or first.recipe.data_root or "data"
    )
    indices, closed_set = _same_test_images(opened, dataset)
    measures = [make_protocol(registry, text) for text in protocols]
    found: dict[str, Result] = {}
    for name, run in opened.items():
        model = load_model(run.path, device, registry)
        if not closed_set:
            _refuse_seen(name, model, dataset, indices)
        found[name] = _measured(measures, model, dataset, own_split(run, dataset))
        split_hash = run.folder.read("split")["hash"]
        record = {"part": "test", "split_hash": split_hash, "by": "compare"}
        run.folder.append(run.folder.evaluations, record)
    groups = _by_seed(opened, found)
    return Comparison(
        results={name: result.estimates for name, result in found.items()},
        differences=_differences(found),
        better=_better(found),
        dataset=dataset.name,
        classes=tuple(dataset.classes[int(c)] for c in dataset.labels[indices].unique()),
        images=len(indices),
        closed_set=closed_set,
        notes=_notes(found),
        seeds={
            name: {
                number: over_seeds(values, least=-1.0 if number == "ami" else 0.0)
                for number, values in numbers.items()
            }
            for name, numbers in groups.items()
        },
        seed_differences=_apart(groups),
    )


def _by_seed(
    runs: Mapping[str, Run], found: Mapping[str, Result]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """The numbers of runs that differ in their seed alone, by the first of each group of two."""
    alike: dict[str, dict[int, str]] = {}
    for name, run in runs.items():
        # A seed once: its run again would be no other training.
        by_seed = alike.setdefault(run.recipe.but(seed=0, data_root="").to_toml(), {})
        by_seed.setdefault(run.recipe.seed, name)
    groups = [list(by_seed.values()) for by_seed in alike.values()]
    return {
        names[0]: {
            number: np.array([found[name].estimates[number].value for name in names])
            for number in found[names[0]].estimates
        }
        for names in groups
        if len(names) > 1
    }


def _apart(
    groups: Mapping[str, Mapping[str, NDArray[np.float64]]],
) -> dict[str, dict[str, Estimate]]:
    """By how much the groups differ from the first, over seeds."""
    if not groups:
        return {}
    first, *others = groups
    return {
        name: {
            number: over_two_groups(groups[first][number], values)
            for number, values in groups[name].items()
        }
        for name in others
    }


def _refuse_seen(name: str, model: EmbeddingModel, dataset: Dataset, indices: Tensor) -> None:
    """Its model may have been put in the place of the run's own."""
    tested = {dataset.classes[int(c)] for c in dataset.labels[indices].unique()}
    if seen := sorted(tested & set(model.card.seen_classes)):
        raise DataError(
            f"the model in {name} was trained or selected on {len(seen)} of the test classes, such "
            f"as {', '.join(seen[:5])}: nothing can be told of it there."
        )


def _opened(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else Run.open(run)


def _same_test_images(runs: Mapping[str, Run], dataset: Dataset) -> tuple[Tensor, bool]:
    """The test images that all runs share; DataError where they don't, or one has seen them."""
    known, closed, here = "", False, fingerprint(dataset)
    shared: Tensor | None = None
    for name, run in runs.items():
        if run.folder.read("split").get("dataset_fingerprint") != here:
            named = run.recipe.dataset
            raise DataError(
                f"{name} was trained on '{described(named)}', whose images or labels are not those "
                f"of '{dataset.name}' as {known or 'it is now'}; compare runs on the same images."
            )
        split = own_split(run, dataset)
        if shared is None:
            shared, known, closed = split.test, name, split.closed_set
        elif not split.test.equal(shared):
            raise DataError(_how_they_differ(dataset, (known, shared), (name, split)))
        elif split.closed_set != closed:
            raise DataError(f"of {known} and {name} one is closed set and the other is not.")
    assert shared is not None
    return shared, closed


def _how_they_differ(dataset: Dataset, first: tuple[str, Tensor], second: tuple[str, Split]) -> str:
    """Names the test classes that one run has and the other has not, or was even trained on."""
    (one, images), (other, split) = first, second
    a = {dataset.classes[int(c)] for c in dataset.labels[images].unique()}
    b = set(split.classes("test", dataset))
    seen = a & {name for part in ("train", "validation") for name in split.classes(part, dataset)}
    told = [
        f"{len(only)} of {run} alone, such as {', '.join(sorted(only)[:5])}"
        for run, only in ((one, a - b), (other, b - a))
        if only
    ]
    what = " and ".join(told) if told else "other images of the same classes"
    trained = (
        f"; {other} was trained or selected on {len(seen)} that {one} is tested on, such as "
        f"{', '.join(sorted(seen)[:5])}"
        if seen and not split.closed_set
        else ""
    )
    return (
        f"{one} and {other} have other test classes: {what}{trained}; train both with the same "
        "--split."
    )


def _measured(
    protocols: Sequence[EvaluationProtocol], model: EmbeddingModel, dataset: Dataset, split: Split
) -> Result:
    """All protocols' numbers as one result."""

    def rows(indices: Tensor) -> Tensor:
        return embedded({TRAINED: model}, dataset, indices, baselines=False).rows[TRAINED]

    validation = None
    if any(wants_validation(protocol) for protocol in protocols):
        validation = Validation(rows(split.validation), labelled_part(dataset, split.validation))
    test, images = rows(split.test), labelled_part(dataset, split.test)
    results = [evaluated(protocol, test, images, validation) for protocol in protocols]
    names = [name for result in results for name in result.estimates]
    if len(set(names)) < len(names):
        again = sorted({name for name in names if names.count(name) > 1})
        raise UsageError(f"two protocols measure {', '.join(again)}; compare them one at a time.")
    return Result(
        {name: value for result in results for name, value in result.estimates.items()},
        tuple(note for result in results for note in result.notes),
        scores={name: value for result in results for name, value in result.scores.items()},
    )


def _notes(found: Mapping[str, Result]) -> tuple[str, ...]:
    """What there is to say of all runs, and of some by their names."""
    said: dict[str, list[str]] = {}
    for name, result in found.items():
        for note in result.notes:
            said.setdefault(note, []).append(name)
    return tuple(
        note if len(names) == len(found) else f"{', '.join(names)}: {note}"
        for note, names in said.items()
    )


def _differences(found: Mapping[str, Result]) -> dict[str, dict[str, Estimate]]:
    first, *others = found
    return {run: _between(found[first], found[run]) for run in others}


def _between(first: Result, second: Result) -> dict[str, Estimate]:
    """Second less first, for the numbers that have scores of the same units."""
    return {
        name: over_differences(
            scored.values, second.scores[name].values, scored.classes, over=scored.over
        )
        for name, scored in first.scores.items()
        if name in second.scores and len(scored.values) == len(second.scores[name].values)
    }


def _better(found: Mapping[str, Result]) -> dict[str, str | None]:
    """For each number the run that is better than every other, if that is sure."""
    ahead: dict[str, dict[str, int]] = {}
    for one, other in combinations(found, 2):
        for name, apart in _between(found[one], found[other]).items():
            # Other starts or choices are no other images or episodes.
            if found[one].scores[name].over != "seeds" and not apart.low <= 0 <= apart.high:
                more = (apart.low > 0) != name.startswith(ERRORS)
                wins = ahead.setdefault(name, {})
                winner = other if more else one
                wins[winner] = wins.get(winner, 0) + 1
    return {
        name: next((run for run, n in ahead.get(name, {}).items() if n == len(found) - 1), None)
        for name in next(iter(found.values())).scores
    }


def _plain(numbers: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, Any]]:
    return {
        run: {name: asdict(estimate) for name, estimate in estimates.items()}
        for run, estimates in numbers.items()
    }
