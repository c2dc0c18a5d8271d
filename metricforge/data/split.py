"""The images to train on, to select the model on, and to test on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from metricforge.contracts import TRAIN, Dataset
from metricforge.data.images import places_hash
from metricforge.data.split_rules import NOWHERE, PARTS, RULES, is_disjoint
from metricforge.errors import DataError, unknown
from metricforge.spec import Spec, bind, complete


@dataclass(frozen=True, eq=False)
class Split:
    """The parts of a dataset, each the sorted int64 indices of its images.

    Attributes:
        rule: Spec of the rule that made it, defaults included.
        train: Indices of the train part.
        validation: Indices of the validation part; may be empty.
        test: Indices of the test part.
        closed_set: Whether some class is in more than one part.
        hash: A sha256 in hex over the class and index of every image of each part: two splits of a
            dataset have one hash if they are the same split.
    """

    rule: Spec
    train: Tensor
    validation: Tensor
    test: Tensor
    closed_set: bool
    hash: str

    def part(self, name: str) -> Tensor:
        """The image indices of a part.

        Args:
            name: "train", "validation" or "test".

        Returns:
            int64 indices, sorted.

        Raises:
            UsageError: There is no such part.
        """
        if name not in PARTS:
            raise unknown("part of a split", name, PARTS)
        indices: Tensor = getattr(self, name)
        return indices

    def classes(self, part: str, dataset: Dataset) -> tuple[str, ...]:
        """The names of the classes of a part, in the dataset's order.

        Args:
            part: "train", "validation" or "test".
            dataset: The dataset that was split.

        Returns:
            Class names.
        """
        present: list[int] = dataset.labels[self.part(part)].unique().tolist()
        return tuple(dataset.classes[index] for index in present)

    def to_json(self, dataset: Dataset) -> dict[str, Any]:
        """The record of a split: its rule and hash, and each part's image count and classes.

        For a closed set it also has the indices of the images, so that the rule `saved` can repeat
        it, and a hash of the images, so that it is repeated for these images only.

        Args:
            dataset: The dataset that was split.

        Returns:
            Plain values for JSON.
        """
        parts: dict[str, dict[str, Any]] = {
            name: {"images": len(self.part(name)), "classes": list(self.classes(name, dataset))}
            for name in PARTS
        }
        if self.closed_set:
            for name, part in parts.items():
                part["places"] = self.part(name).tolist()
        return {
            "rule": str(self.rule),
            "closed_set": self.closed_set,
            "hash": self.hash,
            "parts": parts,
            **({"places_hash": places_hash(dataset)} if self.closed_set else {}),
        }


def split_dataset(dataset: Dataset, spec: Spec | None = None) -> Split:
    """Split a dataset by one of RULES.

    Args:
        dataset: The dataset.
        spec: The rule and its options. Default: the dataset's own split if its classes are
            disjoint, else random.

    Returns:
        The split.

    Raises:
        UsageError: A rule, option or class does not exist.
        DataError: The dataset can't be split so.
    """
    spec = spec or _default(dataset)
    rule, what = _rule(spec)
    parts = _parts(rule, dataset, bind(rule, spec, what))
    indices = {part: (parts == value).nonzero().flatten() for part, value in PARTS.items()}
    _check(indices, dataset, what)
    return Split(
        rule=complete(rule, spec, what),
        **indices,
        closed_set=not is_disjoint(parts, dataset.labels),
        hash=_hash(indices, dataset),
    )


def complete_split(spec: Spec) -> Spec:
    """The spec of a rule with every default filled in."""
    rule, what = _rule(spec)
    return complete(rule, spec, what)


def _rule(spec: Spec) -> tuple[Callable[..., Tensor], str]:
    """The rule that a spec names, and its name in errors."""
    # No distribution has split rules, so that "dist:random" names nothing.
    name = f"{spec.distribution}:{spec.name}" if spec.distribution else spec.name
    if name not in RULES:
        raise unknown("split", name, RULES)
    return RULES[name], f"split '{name}'"


def _parts(rule: Callable[..., Tensor], dataset: Dataset, options: Mapping[str, Any]) -> Tensor:
    """The part of every image, int64 [N]; the rule sees no class that is made of other classes.

    A composite class trains if all of its sources do, else it is in no part.
    """
    if not dataset.made_of:
        return rule(dataset, **options)
    is_made = torch.zeros(len(dataset.classes), dtype=torch.bool)
    is_made[list(dataset.made_of)] = True
    made, originals = is_made[dataset.labels], (~is_made[dataset.labels]).nonzero().flatten()
    # A saved split names the composite classes, too.
    visible = dataset if rule is RULES["saved"] else _only(dataset, originals)
    assigned = rule(visible, **options)
    parts = torch.full((len(dataset),), NOWHERE)
    parts[originals] = assigned[originals] if visible is dataset else assigned
    trains = torch.ones(len(dataset.classes), dtype=torch.bool)
    trains[dataset.labels[~made & (parts != TRAIN)]] = False
    of_class = torch.full((len(dataset.classes),), NOWHERE)
    of_class[
        [composite for composite, sources in dataset.made_of.items() if trains[list(sources)].all()]
    ] = TRAIN
    return torch.where(made, of_class[dataset.labels], parts)


def _only(dataset: Dataset, indices: Tensor) -> Dataset:
    """A dataset of some of the images, with the fields that a rule requires."""
    images = dataset.images
    return replace(
        dataset,
        images=images[indices] if isinstance(images, Tensor) else [images[i] for i in indices],
        labels=dataset.labels[indices],
        groups=None if dataset.groups is None else dataset.groups[indices],
        official=None if dataset.official is None else dataset.official[indices],
    )


def left_out(split: Split, dataset: Dataset) -> tuple[str, ...]:
    """A note on images that are in no part, if there are any."""
    used = torch.zeros(len(dataset), dtype=torch.bool)
    for part in PARTS:
        used[split.part(part)] = True
    images = int((~used).sum())
    if not images:
        return ()
    classes = len(dataset.labels.unique()) - len(dataset.labels[used].unique())
    of_images = f"{images:,} image{'s' if images > 1 else ''}"
    of_classes = f"{classes:,} class{'es' if classes > 1 else ''} ({of_images})"
    verb = "is" if (classes or images) == 1 else "are"
    return (f"{of_classes if classes else of_images} {verb} in no part of the split.",)


def _default(dataset: Dataset) -> Spec:
    own = dataset.official
    return Spec("official" if own is not None and is_disjoint(own, dataset.labels) else "random")


def _check(indices: Mapping[str, Tensor], dataset: Dataset, what: str) -> None:
    for part, images in indices.items():
        # Without images to validate the last epoch is kept.
        if not len(images) and part != "validation":
            raise DataError(f"{what} of '{dataset.name}' leaves no image for {part}.")
    if len(torch.unique(dataset.labels[indices["train"]])) < 2:
        raise DataError(f"{what} of '{dataset.name}' trains on one class; comparing needs two.")


def _hash(indices: Mapping[str, Tensor], dataset: Dataset) -> str:
    counts = {part: len(images) for part, images in indices.items()}
    digest = hashlib.sha256(json.dumps([dataset.classes, counts]).encode())
    for images in indices.values():
        for numbers in (images, dataset.labels[images]):
            digest.update(numbers.numpy().astype("<i8").tobytes())
    return digest.hexdigest()
