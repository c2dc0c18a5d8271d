"""The results of a run, for readers as a table and for the hubs of models as their records."""

from __future__ import annotations

from collections.abc import Iterator

from metricforge.contracts import Estimate
from metricforge.markdown import Value, code, front_matter, table, text
from metricforge.runs.readme.facts import Facts
from metricforge.scoring import legend
from metricforge.scoring.baselines import TRAINED

TAGS = ["metricforge", "metric-learning", "embeddings", "retrieval"]
TASKS = {"images": "image-feature-extraction", "vectors": "feature-extraction"}


def head(facts: Facts) -> list[str]:
    """The lines of YAML that hubs read.

    It names no base model and no data set of a hub: a run knows neither.
    """
    task = TASKS[facts.inputs]
    values: dict[str, Value] = {"library_name": "metricforge", "pipeline_tag": task, "tags": TAGS}
    if metrics := list(_metrics(facts)):
        about: dict[str, Value] = {
            "name": facts.summary.dataset,
            "type": facts.summary.dataset,
            "split": "test" if facts.summary.results else "validation",
            "args": {"split_hash": facts.split.hash, "closed_set": facts.split.closed_set},
        }
        result: Value = {"task": {"type": task}, "dataset": about, "metrics": metrics}
        values["model-index"] = [{"name": facts.name, "results": [result]}]
    return front_matter(values)


def section(facts: Facts) -> list[str]:
    """The table of results beside its baselines, or the scores that chose the epoch."""
    lines = _tested(facts) if facts.summary.results else _untested(facts)
    return ["## Results", "", *lines]


def what_was_tested(facts: Facts) -> str:
    """The test classes in one phrase, without their names."""
    count, trained = len(facts.test_classes), facts.tested_among("train")
    if trained == count:
        return f"other images of the {count:,} classes that trained the model (closed set)"
    if trained:
        return f"{count:,} classes, {trained:,} of which trained the model"
    if judged := facts.tested_among("validation"):
        return f"{count:,} classes that did not train the model; {judged:,} of them chose its epoch"
    return f"{count:,} held-out classes, no image of which was used in training or selection"


def _metrics(facts: Facts) -> Iterator[dict[str, Value]]:
    """The trained network's metrics; its scores on validation classes if no others are known."""
    if not facts.summary.results:
        for name, score in facts.summary.validation.items():
            yield {"type": name, "value": round(score, 4), "name": f"{name}, validation classes"}
    for name, estimate in facts.headline.get(TRAINED, {}).items():
        ends = f"{estimate.low:.3f} to {estimate.high:.3f}"
        label = f"{name}, 95 % interval {ends}"
        yield {"type": name, "value": round(estimate.value, 4), "name": label}


def _tested(facts: Facts) -> Iterator[str]:
    results = facts.headline
    names = legend.metrics(results)
    yield f"On {what_was_tested(facts)} ({facts.summary.test_images:,} {facts.inputs}):"
    yield ""
    rows = [[text(n), *(_cell(each.get(n)) for each in results.values())] for n in names]
    yield from table(["", *map(text, results)], rows)
    yield ""
    meanings = legend.baselines(results)
    yield f"{text(meanings)} {text(legend.interval_basis(results, names))}".strip()
    yield ""
    for name in names:
        if name in facts.summary.definitions:
            yield f"- {code(name)}: {text(facts.summary.definitions[name])}"


def _untested(facts: Facts) -> Iterator[str]:
    yield "The test classes stayed closed: nothing is known of classes that did not choose the"
    if not facts.summary.validation:
        yield "epoch, and none chose it."
        return
    count = len(facts.split.parts.validation.classes)
    yield f"epoch. On the {count:,} validation classes, which chose it:"
    yield ""
    scores = facts.summary.validation.items()
    yield from table(["", "validation"], [[text(n), f"{value:.3f}"] for n, value in scores])


def _cell(estimate: Estimate | None) -> str:
    return "-" if estimate is None else str(estimate)
