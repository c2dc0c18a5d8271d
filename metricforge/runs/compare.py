"""Comparing runs: the same held-out queries and episodes, and differences in pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from metricforge.contracts import Dataset, Estimate, EvaluationProtocol, Result
from metricforge.data.images import fingerprint
from metricforge.errors import DataError, UsageError
from metricforge.evaluation import over_differences
from metricforge.model import load
from metricforge.registry import Registry
from metricforge.runs.components import make_dataset, make_protocol
from metricforge.runs.evaluate import USUAL_PROTOCOLS, embedded
from metricforge.runs.measure import TRAINED
from metricforge.runs.parts import own_split
from metricforge.runs.run import Run
from metricforge.runs.selection import evaluated, labelled_part

# Of these the smaller number is the better one.
ERRORS = ("error", "eer")


@dataclass(frozen=True)
class Comparison:
    """The numbers of runs on the same images, and by how much each differs from the first.

    `results` and `differences` are by run, then by the name of the number; a difference is that
    of the run less the first run, with a 95 % interval over the same queries or episodes.
    `better` names, for each number, the run that is better than the first and all others for
    sure, by intervals that leave out zero, or has None.
    """

    results: Mapping[str, Mapping[str, Estimate]]
    differences: Mapping[str, Mapping[str, Estimate]]
    better: Mapping[str, str | None]
    dataset: str
    classes: tuple[str, ...]
    images: int
    closed_set: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "classes": list(self.classes),
            "images": self.images,
            "closed_set": self.closed_set,
            "results": _plain(self.results),
            "differences": _plain(self.differences),
            "better": dict(self.better),
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
        model = load(run.path, device=device, registry=registry)
        rows = embedded({TRAINED: model}, dataset, indices, baselines=False).rows[TRAINED]
        found[name] = _measured(measures, rows, dataset, indices)
        split_hash = run.folder.read("split")["hash"]
        record = {"part": "test", "split_hash": split_hash, "by": "compare"}
        run.folder.append(run.folder.evaluations, record)
    return Comparison(
        results={name: result.estimates for name, result in found.items()},
        differences=_differences(found),
        better=_better(found),
        dataset=dataset.name,
        classes=tuple(dataset.classes[int(c)] for c in dataset.labels[indices].unique()),
        images=len(indices),
        closed_set=closed_set,
    )


def _opened(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else Run.open(run)


def _same_test_images(runs: Mapping[str, Run], dataset: Dataset) -> tuple[Tensor, bool]:
    """The test images that all runs share; DataError where they don't."""
    known, closed, here = "", False, fingerprint(dataset)
    shared: Tensor | None = None
    for name, run in runs.items():
        if run.folder.read("split").get("dataset_fingerprint") != here:
            raise DataError(f"{name} was trained on other images than {known or 'there are now'}.")
        split = own_split(run, dataset)
        if shared is None:
            shared, known, closed = split.test, name, split.closed_set
        elif not split.test.equal(shared):
            raise DataError(_how_they_differ(dataset, known, shared, name, split.test))
        elif split.closed_set != closed:
            raise DataError(f"of {known} and {name} one is closed set and the other is not.")
    assert shared is not None
    return shared, closed


def _how_they_differ(dataset: Dataset, first: str, one: Tensor, second: str, other: Tensor) -> str:
    """Names the test classes that one run has and the other has not."""
    a, b = ({dataset.classes[int(c)] for c in dataset.labels[i].unique()} for i in (one, other))
    told = [
        f"{len(only)} of {run} alone, such as {', '.join(sorted(only)[:5])}"
        for run, only in ((first, a - b), (second, b - a))
        if only
    ]
    what = " and ".join(told) if told else "other images of the same classes"
    return (
        f"{first} and {second} have other test classes: {what}; give both the same --split, "
        "for a run may have trained on what another is tested on."
    )


def _measured(
    protocols: Sequence[EvaluationProtocol], rows: Tensor, dataset: Dataset, indices: Tensor
) -> Result:
    """All protocols' numbers as one result."""
    images = labelled_part(dataset, indices)
    results = [evaluated(protocol, rows, images) for protocol in protocols]
    return Result(
        {name: value for result in results for name, value in result.estimates.items()},
        scores={name: value for result in results for name, value in result.scores.items()},
    )


def _differences(found: Mapping[str, Result]) -> dict[str, dict[str, Estimate]]:
    first, *others = found
    return {run: _between(found[first], found[run]) for run in others}


def _between(first: Result, second: Result) -> dict[str, Estimate]:
    """Second less first, for the numbers that have scores of the same units."""
    return {
        name: over_differences(scored.values, second.scores[name].values, scored.classes)
        for name, scored in first.scores.items()
        if name in second.scores and len(scored.values) == len(second.scores[name].values)
    }


def _better(found: Mapping[str, Result]) -> dict[str, str | None]:
    """For each number the run that is better than every other, if that is sure."""
    names = next(iter(found.values())).scores
    return {name: next((run for run in found if _beats_all(found, run, name)), None)
            for name in names}  # fmt: skip


def _beats_all(found: Mapping[str, Result], run: str, name: str) -> bool:
    differences = [
        _between(result, found[run]).get(name) for other, result in found.items() if other != run
    ]
    sign = -1 if name.startswith(ERRORS) else 1
    return all(d is not None and min(sign * d.low, sign * d.high) > 0 for d in differences)


def _plain(numbers: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, Any]]:
    return {
        run: {name: asdict(estimate) for name, estimate in estimates.items()}
        for run, estimates in numbers.items()
    }
