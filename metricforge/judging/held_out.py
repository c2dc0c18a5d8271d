"""The images of a dataset that a model is tested on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.class_names import seen_among
from metricforge.data.split import Split
from metricforge.data.split_rules import PARTS
from metricforge.errors import DataError, few, unknown
from metricforge.model import EmbeddingModel
from metricforge.runs.run import Run

ALL = "all"


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
    shape: tuple[int, ...] | None = None

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
    def decoded(self) -> Dataset:
        """The dataset, whose files are decoded in the size that the model takes."""
        return self.dataset if self.shape is None else replace(self.dataset, shape=self.shape)

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

        In another dataset spellings may differ, see :func:`seen_among`.
        """
        trained_on = set(model.card.seen_classes)
        if self.split_hash:  # the run's own, whose names are exact
            return tuple(sorted(trained_on & set(self.classes)))
        return seen_among(self.classes, trained_on)


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
        f"options. Its held-out classes are tested: {images:,} images of {len({*held} & here):,} "
        f"classes; there were {parts.test.images:,} of {len(held):,}."
    )
    if lost := [name for name in held if name not in here]:
        yield f"held-out classes that are gone: {len(lost):,} ({few(lost)})."
    if new := [name for name in present if name not in known]:
        yield f"new classes, which are not tested: {len(new):,} ({few(new)})."


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
    return (
        f"{len(overlap)} classes of '{dataset.name}' have names that the model was trained or "
        f"selected on (on '{model.card.trained_on}'): {few(overlap, 8)}; a held-out number can't "
        "be measured on them. If they are other things, or you want it all the same, pass "
        "--allow-seen."
    )
