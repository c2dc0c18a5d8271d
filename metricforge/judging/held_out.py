"""The images of a dataset that a model is tested on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.class_names import folded
from metricforge.data.images import fingerprint
from metricforge.data.split import Split, split_dataset
from metricforge.data.split_rules import PARTS
from metricforge.errors import DataError, MetricForgeError, UsageError, unknown
from metricforge.fetching import nothing_fetched
from metricforge.model import EmbeddingModel
from metricforge.recipes.components import make_dataset
from metricforge.recipes.recipe import CustomObject
from metricforge.registry import Registry
from metricforge.runs.run import Run
from metricforge.spec import Spec

ALL = "all"
_SHOWN = 5  # classes in a note
WRITTEN = {"cache", "index"}
"""Options of datasets that name files to write."""


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


@dataclass(frozen=True)
class Tested:
    """A part of a dataset: its name, and the indices of its images and of the validation images.

    `split_hash` is that of a run's split, if the run's own classes are tested; `notes` report what
    has changed since its training; `shape` is that to decode files to, None the dataset's.
    """

    dataset: Dataset
    split: Split | None
    name: str
    indices: Tensor
    validation: Tensor | None
    split_hash: str = ""
    notes: tuple[str, ...] = ()
    shape: tuple[int, int, int] | None = None

    @classmethod
    def of(cls, dataset: Dataset, split: Split | None, part: str | None) -> Tested:
        """The part of that name or the default one, by a run's split or the dataset's own."""
        name, indices = _part(dataset, split, part)
        validation = _validation(dataset, split) if name == "test" else None
        return cls(dataset, split, name, indices, validation, split.hash if split else "")

    @classmethod
    def changed(cls, dataset: Dataset, run: Run) -> Tested | None:
        """The held-out classes of a run in a dataset that has changed since its training.

        None for another dataset, i.e. without any class that the run trained on or without any that
        it held out, and for a closed set, whose held-out images are not known by class.
        """
        record = run.folder.split
        trained = {*record.parts.train.classes, *record.parts.validation.classes}
        held = set(record.parts.test.classes)
        present = [dataset.classes[label] for label in dataset.labels.unique().tolist()]
        if record.closed_set or not trained & {*present} or not held & {*present}:
            return None
        return cls(
            dataset,
            None,
            "test",
            _of_classes(dataset, held),
            _of_classes(dataset, set(record.parts.validation.classes)),
            record.hash,
            tuple(_changes(run, dataset, present)),
        )

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(
            self.dataset.classes[int(c)] for c in self.dataset.labels[self.indices].unique()
        )

    @property
    def closed_set(self) -> bool:
        return self.split is not None and self.split.closed_set

    def overlap_with(self, model: EmbeddingModel) -> tuple[str, ...]:
        """The classes whose names the model was trained or selected on.

        In another dataset a path also matches by its ends, or as the end of a training class: the
        number of folders around the classes does not matter, nor do case, accents, leading zeros.
        """
        trained_on = set(model.card.seen_classes)
        if self.split_hash:  # the run's own, whose names are exact
            return tuple(sorted(trained_on & set(self.classes)))
        known = {folded(name) for name in trained_on}
        ends = {end for name in known for end in _ends(name)}
        return tuple(
            sorted(
                name
                for name in set(self.classes)
                if folded(name) in ends or known & {*_ends(folded(name))}
            )
        )


def _of_classes(dataset: Dataset, names: set[str]) -> Tensor:
    """The indices of the images of classes."""
    labels = [label for label, name in enumerate(dataset.classes) if name in names]
    return torch.isin(dataset.labels, torch.tensor(labels)).nonzero().flatten()


def _changes(run: Run, dataset: Dataset, present: Sequence[str]) -> Iterator[str]:
    """Notes on the classes and images that a dataset has lost or gained since a run's training."""
    parts = run.folder.split.parts
    known = {*parts.train.classes, *parts.validation.classes, *parts.test.classes}
    held, here = parts.test.classes, set(present)
    images = len(_of_classes(dataset, set(held)))
    yield (
        f"'{dataset.name}' differs from what {run.path} was trained on, in its images or its "
        "options. Its held-out classes are "
        f"tested: {images:,} images of {len({*held} & here):,} classes; there were "
        f"{parts.test.images:,} of {len(held):,}."
    )
    if lost := [name for name in held if name not in here]:
        yield f"held-out classes that are gone: {_listed(lost)}."
    if new := [name for name in present if name not in known]:
        yield f"new classes, which are not tested: {_listed(new)}."


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names):,} ({', '.join(names[:_SHOWN])}{more})"


def _ends(path: str) -> Iterator[str]:
    """A path with ever fewer of its outermost folders: a/b/c, b/c, c."""
    while path:
        yield path
        path = path.partition("/")[2]


def _part(dataset: Dataset, split: Split | None, part: str | None) -> tuple[str, Tensor]:
    everything = torch.arange(len(dataset))
    if part is not None and part not in (*PARTS, ALL):
        raise unknown("part", part, (*PARTS, ALL))
    if part == ALL:
        return ALL, everything
    if split is None and dataset.official is None:
        if part is not None:
            raise DataError(f"dataset '{dataset.name}' has no parts of its own; take --part all.")
        return ALL, everything
    name = part or "test"
    indices = _own(dataset, split, name)
    if len(indices) == 0:
        whose = "of its own" if split is None else "in this split"
        raise DataError(f"dataset '{dataset.name}' has no {name} part {whose}.")
    return name, indices


def _validation(dataset: Dataset, split: Split | None) -> Tensor | None:
    indices = _own(dataset, split, "validation")
    return indices if len(indices) else None


def _own(dataset: Dataset, split: Split | None, part: str) -> Tensor:
    """The images of a part, by a split or by the dataset's own."""
    if split is not None:
        return split.part(part)
    assert dataset.official is not None
    return (dataset.official == PARTS[part]).nonzero().flatten()


def overlap_message(overlap: tuple[str, ...], dataset: Dataset, model: EmbeddingModel) -> str:
    """The error for classes that a model was trained or selected on."""
    shown = ", ".join(overlap[:8]) + (", ..." if len(overlap) > 8 else "")
    return (
        f"{len(overlap)} classes of '{dataset.name}' have names that the model was trained or "
        f"selected on (on '{model.card.trained_on}'): {shown}; a held-out number can't be "
        "measured on them. If they are other things, or you want it all the same, pass "
        "--allow-seen."
    )
