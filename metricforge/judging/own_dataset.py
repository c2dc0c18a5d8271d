"""The dataset that a run was trained on, and whether a given one is it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from metricforge.contracts import Dataset
from metricforge.data.images import fingerprint
from metricforge.data.split import Split, split_dataset
from metricforge.errors import DataError, MetricForgeError, UsageError
from metricforge.fetching import nothing_fetched
from metricforge.recipes.components import make_dataset
from metricforge.recipes.custom_object import Component, CustomObject
from metricforge.registry import Registry
from metricforge.runs.run import Run
from metricforge.spec import Spec

WRITTEN = {"cache", "index"}
"""Options of datasets that name files to write."""

ELSEWHERE = {*WRITTEN, "images", "labels"}
"""Options of a dataset that are further paths, which do not apply to a moved dataset."""


def own_split(run: Run, dataset: Dataset) -> Split:
    """The split of a run; DataError if the dataset is not the one it was trained on."""
    if is_own(run, dataset):
        split = split_dataset(dataset, run.recipe.split)
        if split.hash == run.folder.split.hash:
            return split
    raise DataError(
        f"the dataset '{dataset.name}' is not the one that {run.path} was trained on: its images "
        f"or classes have changed; {', '.join(_instead(run))}."
    )


def _instead(run: Run) -> Iterator[str]:
    """The advice for a dataset that has changed since a run."""
    path, dataset = run.path, run.recipe.dataset
    if isinstance(dataset, CustomObject):
        yield "put them back"
        return
    name = _brief(dataset)
    words = ["metricforge", "evaluate", str(path), "--dataset", name]
    if not run.folder.split.closed_set:
        yield f"{shlex.join(words)} tests the held-out classes that are still there"
    yield f"{shlex.join([*words, '--part', 'all', '--allow-seen'])} measures all that is there now"
    if not run.folder.split.closed_set:
        rule = str(Spec("saved", {"path": str(path / "split.json")}))
        train = shlex.join(["metricforge", "train", "--dataset", name, "--split", rule])
        yield f"{train} trains anew with the same classes held out"


def _brief(dataset: Spec | str) -> str:
    """The spec of a dataset, less options that have their defaults."""
    spec = Spec.parse(dataset) if isinstance(dataset, str) else dataset
    required = {key: value for key, value in spec.options.items() if key == "path"}
    try:
        full = Registry.installed().complete("dataset", replace(spec, options=required))
    except MetricForgeError:  # it is not among the installed ones
        return str(spec)
    options = {k: value for k, value in spec.options.items() if value != full.options.get(k)}
    return str(replace(spec, options={**required, **options}))


def own_dataset(run: Run) -> Spec:
    """The spec of the dataset that a run was trained on, less options that write files.

    UsageError for an object. A run may be a stranger's: to read it must write nothing elsewhere.
    """
    dataset = run.recipe.dataset
    if isinstance(dataset, CustomObject):
        raise UsageError(
            f"{run.path} was trained on a Dataset of your own ({dataset.name}): pass one, "
            "evaluate(run, dataset)."
        )
    spec = Spec.parse(dataset) if isinstance(dataset, str) else dataset
    options = {key: value for key, value in spec.options.items() if key not in WRITTEN}
    return replace(spec, options=options)


def open_own_dataset(run: Run, registry: Registry, data_root: str | None) -> Dataset:
    """The dataset that a run was trained on; ArtefactError if it would have to be downloaded."""
    with nothing_fetched(f"evaluating {run.path}"):
        return make_dataset(registry, own_dataset(run), data_root or run.recipe.data_root or "data")


def is_own(run: Run, dataset: Dataset) -> bool:
    """Whether a dataset is the one that a run was trained on, wherever it lies."""
    return run.folder.split.dataset_fingerprint == fingerprint(dataset)


def as_trained(
    run: Run, component: Component, registry: Registry, data_root: str
) -> Dataset | None:
    """A dataset of the run's own kind, with the other options of its training, e.g. the size.

    None if the run has no others.
    """
    if isinstance(component, CustomObject) or isinstance(run.recipe.dataset, CustomObject):
        return None
    own = own_dataset(run)
    inherited = {key: value for key, value in own.options.items() if key not in ELSEWHERE}
    suffixes = {Path(str(each.options.get("path", ""))).suffix for each in (own, component)}
    if len(suffixes) > 1:  # the columns are those of another kind of file
        inherited.pop("columns", None)
    options = {**inherited, **component.options}
    if component.name != own.name or options == component.options:
        return None
    return make_dataset(registry, replace(component, options=options), data_root)


def cache_note(run: Run) -> Iterator[str]:
    """A note on a cache that is not used: a run may be a stranger's, which writes nothing here."""
    dataset = run.recipe.dataset
    if isinstance(dataset, Spec) and dataset.options.get("cache", "none") != "none":
        yield f"the cache of the run's dataset is not used; --dataset '{dataset}' uses it."
