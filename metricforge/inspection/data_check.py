"""Whether a dataset is fit to train and test on, before any time is spent on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from metricforge.contracts import Dataset
from metricforge.data.images import open_images
from metricforge.data.split import Split, left_out, split_dataset
from metricforge.errors import DataError, MetricForgeError
from metricforge.inspection.copies import CopySets
from metricforge.inspection.near_duplicates import likeness
from metricforge.inspection.sampler_check import Verdict, try_samplers
from metricforge.inspection.survey import Survey, survey
from metricforge.recipes.components import make_protocol
from metricforge.recipes.dataset_spec import dataset_spec, open_dataset
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.build import REHEARSED_IMAGES
from metricforge.scoring.apply import labelled_part, rehearse
from metricforge.scoring.failures import image_name
from metricforge.spec import Spec

_ROWS = 4096  # vectors that are looked at together


@dataclass(frozen=True)
class DataCheck:
    """The results of all checks of a dataset; `spec` is its spec in a training.

    `crowded` is how many images may have more copies. `split` is None where the dataset can't be
    split. `faults` are the errors that would stop a training, without broken images and samplers.
    """

    spec: str
    dataset: Dataset
    survey: Survey
    copies: CopySets
    crowded: int
    split: Split | None
    samplers: tuple[Verdict, ...]
    faults: tuple[str, ...]

    @cached_property
    def class_sizes(self) -> dict[str, Any]:
        """Sizes of the classes that have images, and the names of those with one image or none."""
        sizes = self.dataset.labels.bincount(minlength=len(self.dataset.classes)).numpy()
        used = sizes[sizes > 0]

        def of(size: int) -> list[str]:
            return [self.dataset.classes[index] for index in np.flatnonzero(sizes == size)]

        return {
            "smallest": int(used.min()),
            "median": float(np.median(used)),
            "largest": int(used.max()),
            "of_one_image": of(1),
            "of_no_image": of(0),
        }

    @cached_property
    def broken(self) -> dict[str | int, str]:
        """The images that can't be used, each with the reason, in the order of the dataset."""
        reasons = sorted(self.survey.broken.items())
        return {image_name(self.dataset, index): why for index, why in reasons}

    @cached_property
    def zeros(self) -> int:
        """How many vectors have nothing but zeros; of images none is counted."""
        vectors = self.dataset.images
        if not (isinstance(vectors, Tensor) and self.dataset.of_vectors):
            return 0
        return sum(int((~part.any(1)).sum()) for part in vectors.split(_ROWS))

    @property
    def failures(self) -> list[str]:
        """Sentences: the reasons why training would fail, if any."""
        refused = [
            f"sampler {verdict.spec}: {verdict.why}"
            for verdict in self.samplers
            if verdict.decides and verdict.outcome != "ok"
        ]
        return [*self._broken_sentences(), *self.faults, *refused]

    @property
    def warnings(self) -> list[str]:
        """Sentences: the reasons to distrust the metrics of a training."""
        return list(self._warnings())

    def to_json(self) -> dict[str, Any]:
        """The check as plain values; an image is named by its file, or its index in a tensor."""
        sizes = zip(("smallest", "median", "largest"), self.survey.sizes(), strict=False)
        return {
            "dataset": self.spec,
            "name": self.dataset.name,
            "images": len(self.dataset),
            "classes": len(self.dataset.classes),
            "groups": len(self.dataset.group_names),
            "shape": list(self.dataset.shape),
            "notes": list(self.dataset.notes),
            "class_sizes": self.class_sizes,
            "formats": dict(self.survey.formats),
            "modes": dict(self.survey.modes),
            "sizes": {name: list(size) for name, size in sizes},
            "broken": [{"image": image, "why": why} for image, why in self.broken.items()],
            **self.copies.to_json(),
            **({"alike": None} if self.dataset.of_vectors else {}),
            "crowded": self.crowded,
            "split": None if self.split is None else self.split.to_json(self.dataset),
            "left_out": list(left_out(self.split, self.dataset)) if self.split else [],
            "samplers": [vars(verdict) for verdict in self.samplers],
            "warnings": self.warnings,
            "failures": self.failures,
            "ok": not self.failures,
        }

    def _broken_sentences(self) -> Iterator[str]:
        if self.broken:
            more = len(self.broken) - 1
            first = next(iter(self.broken.values()))
            counted = f"{more} more can't be used either." if more else ""
            yield " ".join(filter(None, (first, counted, self.dataset.advice)))

    def _warnings(self) -> Iterator[str]:
        yield from self.dataset.warnings
        if self.copies.leaks:
            count = _counted(len(self.copies.leaks), "set")
            yield f"{count} of copies in more than one part: what is tested is not unseen."
        if wrong := [copies for copies in self.copies.identical if copies.of_two_classes]:
            count = _counted(len(wrong), "set")
            yield f"{count} of copies with more than one label: some labels are wrong."
        if similar := len(self.copies.of_two_classes) - len(wrong):
            count = _counted(similar, "set")
            yield f"{count} of images that look alike with more than one label: check the labels."
        if single := len(self.class_sizes["of_one_image"]):
            count = _counted(single, "class", "classes")
            yield f"{count} of one image, which no other can match."
        if self.zeros:
            yield f"{_counted(self.zeros, 'vector')} of zeros alone: without a direction."
        if self.crowded:
            yield (
                f"{self.crowded:,} images resemble so many others that not all of these "
                "were compared: there may be more copies."
            )


def check_data(
    what: str,
    split: str | None = None,
    samplers: Sequence[str] = (),
    data_root: str | None = None,
    registry: Registry | None = None,
) -> DataCheck:
    """Check every image of a dataset, `what` is its spec or path, and try its split and samplers.

    `split` and `samplers` are specs, by default those of a training. Raises DataError where there
    is no dataset, and UsageError for names and options that do not exist.
    """
    registry = registry or Registry.installed()
    dataset = open_dataset(what, registry, data_root)
    # Nothing is decoded yet: this only compares the images' form with the dataset's metadata.
    open_images(replace(dataset, cache=None), memory_limit=-1)
    parts, faults = _split(dataset, split)
    verdicts: tuple[Verdict, ...] = ()
    if parts is not None:
        verdicts = tuple(try_samplers(dataset, parts, registry, samplers))
        faults = (*faults, *_rehearsed(dataset, parts, registry))
    surveyed = survey(dataset.images)
    alike = likeness(surveyed)
    return DataCheck(
        spec=str(dataset_spec(what, registry)),
        dataset=dataset,
        survey=surveyed,
        copies=CopySets.of(alike, dataset, parts),
        crowded=alike.crowded,
        split=parts,
        samplers=verdicts,
        faults=faults,
    )


def _split(dataset: Dataset, rule: str | None) -> tuple[Split | None, tuple[str, ...]]:
    try:
        return split_dataset(dataset, Spec.parse(rule) if rule else None), ()
    except DataError as error:
        return None, (str(error),)


def _rehearsed(dataset: Dataset, split: Split, registry: Registry) -> Iterator[str]:
    """The errors of the default protocols on the validation and test parts."""
    recipe = Recipe()
    for part, protocols in (("validation", (recipe.validation,)), ("test", recipe.protocols)):
        images = split.part(part)
        if not 0 < len(images) <= REHEARSED_IMAGES:
            continue
        for spec in protocols:
            try:
                rehearse(make_protocol(registry, spec), labelled_part(dataset, images))
            except MetricForgeError as error:
                yield f"{part} part: {error}"


def _counted(count: int, singular: str, plural: str = "") -> str:
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
