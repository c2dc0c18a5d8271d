"""The rules that split a dataset: each returns the part of every image.

A rule is a function of the dataset, and its keyword-only parameters are its options.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import TEST, TRAIN, VALIDATION, Dataset
from metricforge.data.class_ranges import parse_classes
from metricforge.data.images import places_hash
from metricforge.data.split_file import Record, read_record
from metricforge.errors import DataError, PluginError, UsageError

PARTS: Mapping[str, int] = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
"""The parts of a split, in order, with their values in :attr:`Dataset.official`."""

FEWEST_CLASSES = 5
FEWEST_GROUPS = 3
FEWEST_IMAGES = 6

NOWHERE = -1
"""The value of a rule for an image that is in no part."""


def random(
    dataset: Dataset, *, validation: float = 0.2, test: float = 0.3, seed: int = 0
) -> Tensor:
    """Whole classes at random validate and test, the others train.

    Args:
        dataset: The dataset.
        validation: Fraction of the classes that validate, above 0 and below 1.
        test: Fraction of the classes that test, above 0 and below 1.
        seed: Seed of the choice, 0 or more.
    """
    _check("random", {"validation": validation, "test": test}, seed)
    present = _present(dataset.labels)
    if len(present) < FEWEST_CLASSES:
        held = "one class" if len(present) == 1 else f"{len(present)} classes"
        raise DataError(
            f"'{dataset.name}' has {held}; a split that tests on unseen classes needs "
            f"at least {FEWEST_CLASSES}: two to train, one to validate, two to test. --split "
            "images tests on other images of the same classes, a closed set."
        )
    testing, validating = _class_counts(len(present), validation, test)
    order = np.random.default_rng(seed).permutation(present)
    chosen = torch.full((len(dataset.classes),), TRAIN)
    chosen[torch.from_numpy(order[:testing])] = TEST
    chosen[torch.from_numpy(order[testing : testing + validating])] = VALIDATION
    return chosen[dataset.labels]


def classes(dataset: Dataset, *, train: str, validation: str, test: str) -> Tensor:
    """Named classes: `a+b` joins them, `a-d` is a range in the dataset's order of class names.

    A range of whole numbers, 1-12, has the classes whose names are numbers between them.

    Args:
        dataset: The dataset.
        train: Classes that train.
        validation: Classes that validate.
        test: Classes that test.
    """
    chosen = torch.full((len(dataset.classes),), NOWHERE)
    twice: set[int] = set()
    for part, text in (("train", train), ("validation", validation), ("test", test)):
        indices = sorted(parse_classes(text, dataset.classes))
        twice |= {index for index in indices if chosen[index] != NOWHERE}
        chosen[indices] = PARTS[part]
    if twice:
        names = ", ".join(dataset.classes[index] for index in sorted(twice))
        raise DataError(f"split 'classes' puts these in more than one part: {names}.")
    return chosen[dataset.labels]


def official(dataset: Dataset, *, validation: float = 0.1, seed: int = 0) -> Tensor:
    """The dataset's own split; without a validation part, some of its train part validates.

    With validation=0 all of the train part trains, e.g. for a recipe that was selected before: the
    last epoch is kept then, since nothing selects one.

    Args:
        dataset: The dataset.
        validation: Fraction of the train part that validates if no part does, 0 to below 1.
        seed: Seed of the choice, 0 or more.
    """
    _check("official", {"validation": validation} if validation else {}, seed)
    if dataset.official is None:
        raise DataError(
            f"'{dataset.name}' has no official split; use the split 'random' or "
            "'classes:train=...,validation=...,test=...'."
        )
    strange = sorted(set(dataset.official.tolist()) - set(PARTS.values()))
    if strange:
        raise PluginError(
            f"dataset '{dataset.name}' has an official part {strange[0]}, not 0 to 2."
        )
    parts = dataset.official.clone()
    if not validation:
        parts[parts == VALIDATION] = TRAIN
    elif not (parts == VALIDATION).any():
        rng = np.random.default_rng(seed)
        parts[_held_out(dataset, (parts == TRAIN).nonzero().flatten(), validation, rng)] = (
            VALIDATION
        )
    return parts


def groups(
    dataset: Dataset, *, validation: float = 0.2, test: float = 0.3, seed: int = 0
) -> Tensor:
    """Whole groups at random, e.g. alphabets, validate and test, the others train.

    Args:
        dataset: The dataset.
        validation: Fraction of the groups that validate, above 0 and below 1.
        test: Fraction of the groups that test, above 0 and below 1.
        seed: Seed of the choice, 0 or more.
    """
    _check("groups", {"validation": validation, "test": test}, seed)
    if dataset.groups is None:
        raise DataError(f"'{dataset.name}' has no groups; use the split 'random'.")
    across = _first_across(dataset.labels, dataset.groups)
    if across is not None:
        raise DataError(
            f"class '{dataset.classes[across]}' of '{dataset.name}' is in more than one group, so "
            "that no group can be held out; use the split 'random'."
        )
    present = _present(dataset.groups)
    if len(present) < FEWEST_GROUPS:
        raise DataError(
            f"'{dataset.name}' has {len(present)} groups; to train, validate and test on others "
            f"takes {FEWEST_GROUPS}; use the split 'random'."
        )
    order = np.random.default_rng(seed).permutation(present)
    testing, validating = (max(1, _share(len(present), share)) for share in (test, validation))
    testing = min(testing, len(present) - 2)
    validating = min(validating, len(present) - 1 - testing)
    chosen = torch.full((len(dataset.group_names),), TRAIN)
    chosen[torch.from_numpy(order[:testing])] = TEST
    chosen[torch.from_numpy(order[testing : testing + validating])] = VALIDATION
    return chosen[dataset.groups]


def folds(dataset: Dataset, *, k: int = 4, fold: int = 0, seed: int = 0) -> Tensor:
    """Whole classes in `k` folds: one fold tests, the next one validates.

    Over all folds each class is tested once.

    Args:
        dataset: The dataset.
        k: Folds, 3 or more.
        fold: Number of the fold that tests, 0 to k - 1.
        seed: Seed of the folds, 0 or more.
    """
    _check("folds", {}, seed)
    present = _present(dataset.labels)
    if k < 3 or not 0 <= fold < k:
        raise UsageError(f"split 'folds' needs k of 3 or more and a fold from 0 to {k - 1}.")
    if len(present) < max(FEWEST_CLASSES, 2 * k):
        raise DataError(
            f"'{dataset.name}' has {len(present)} classes; {k} folds of two or more take {2 * k}."
        )
    order = torch.from_numpy(np.random.default_rng(seed).permutation(present))
    of_class = torch.full((len(dataset.classes),), NOWHERE)
    of_class[order] = torch.arange(len(present)) % k
    chosen = torch.full((len(dataset.classes),), TRAIN)
    chosen[of_class == fold] = TEST
    chosen[of_class == (fold + 1) % k] = VALIDATION
    return chosen[dataset.labels]


def images(
    dataset: Dataset, *, validation: float = 0.1, test: float = 0.2, seed: int = 0
) -> Tensor:
    """A closed set: of each class some images validate and some test.

    They are at least two images, or none would have another to retrieve, and two are left to train.

    Args:
        dataset: The dataset.
        validation: Fraction of a class's images that validate, above 0 and below 1.
        test: Fraction of a class's images that test, above 0 and below 1.
        seed: Seed of the choice, 0 or more.

    Raises:
        DataError: No class has the six images that this takes.
    """
    _check("images", {"validation": validation, "test": test}, seed)
    if int(dataset.labels.bincount().max()) < FEWEST_IMAGES:
        raise DataError(
            f"no class of '{dataset.name}' has {FEWEST_IMAGES} images, two each to train, validate "
            "and test; add images, or hold out whole classes with the split 'random'."
        )
    rng = np.random.default_rng(seed)
    parts = torch.full((len(dataset),), TRAIN)
    parts[_of_each_class(dataset.labels, test, rng, left=4)] = TEST
    left = (parts == TRAIN).nonzero().flatten()
    # The fraction is of all images, some of which already test.
    parts[left[_of_each_class(dataset.labels[left], validation / (1 - test), rng)]] = VALIDATION
    return parts


def saved(dataset: Dataset, *, path: Path) -> Tensor:
    """The split that a file records: a run's `split.json`, or a file of `data split`.

    Classes are found by their names, so that the dataset may have more images of them. Classes that
    the file does not name are in no part. A closed set is recorded by its images, so it fits only
    the dataset that it was made of.

    Args:
        dataset: The dataset.
        path: The file.

    Raises:
        DataError: The dataset lacks a class of the file.
    """
    recorded = read_record(path)
    order = {name: index for index, name in enumerate(dataset.classes)}
    _refuse_overlap(recorded, path)
    if recorded.closed_set:
        return _of_images(recorded, dataset, path)
    chosen = torch.full((len(dataset.classes),), NOWHERE)
    for name, part in vars(recorded.parts).items():
        if gone := [of for of in part.classes if of not in order]:
            raise DataError(
                f"'{dataset.name}' lacks {len(gone)} of the classes in {path}, e.g. "
                f"'{gone[0]}': it is the split of another dataset."
            )
        chosen[[order[of] for of in part.classes]] = PARTS[name]
    return chosen[dataset.labels]


RULES: Mapping[str, Callable[..., Tensor]] = {
    "random": random,
    "groups": groups,
    "folds": folds,
    "classes": classes,
    "images": images,
    "official": official,
    "saved": saved,
}
"""The rules by name; each takes the dataset and returns int64 [N], values of PARTS or NOWHERE."""


def is_disjoint(parts: Tensor, labels: Tensor) -> bool:
    """Whether no class has images in two of these parts [N]; NOWHERE is no part."""
    used = parts != NOWHERE
    pairs = torch.stack((labels[used], parts[used])).unique(dim=1)
    return int(pairs.shape[1]) == len(labels[used].unique())


def _first_across(labels: Tensor, groups: Tensor) -> int | None:
    """The first class that has images in two groups."""
    pairs = torch.stack((labels, groups)).unique(dim=1)[0]
    across = pairs[1:][pairs[1:] == pairs[:-1]]
    return int(across[0]) if len(across) else None


def _refuse_overlap(recorded: Record, path: Path) -> None:
    if recorded.closed_set:
        return
    of: dict[str, str] = {}
    for part, held in vars(recorded.parts).items():
        both = [name for name in held.classes if of.setdefault(name, part) != part]
        if both:
            raise DataError(
                f"{path} has {len(both)} classes in more than one part, e.g. '{both[0]}' in "
                f"{of[both[0]]} and {part}; a class is held out or it is not."
            )


def _of_images(recorded: Record, dataset: Dataset, path: Path) -> Tensor:
    parts = torch.full((len(dataset),), NOWHERE)
    for part, held in vars(recorded.parts).items():
        positions = held.places
        # Checked before they become a tensor, which holds no number beyond 2^63.
        if positions and not 0 <= min(positions) <= max(positions) < len(dataset):
            raise DataError(f"{path} names images that '{dataset.name}' does not have.")
        indices = torch.tensor(positions, dtype=torch.int64)
        if bool((parts[indices] != NOWHERE).any()):
            raise DataError(f"{path} has an image in more than one part.")
        present = dataset.labels[indices].unique().tolist()
        if [dataset.classes[label] for label in present] != list(held.classes):
            raise DataError(
                f"the {part} images in {path} are of other classes in '{dataset.name}': it is the "
                "split of another dataset."
            )
        parts[indices] = PARTS[part]
    # One more image would shift all later indices, so that a training image would be tested.
    if places_hash(dataset) != recorded.places_hash:
        raise DataError(
            f"the images of '{dataset.name}' are not those that {path} was made of: a closed set "
            "is recorded by their places; make it anew with metricforge data split --split images."
        )
    return parts


def _class_counts(total: int, validation: float, test: float) -> tuple[int, int]:
    """The numbers of `total` >= 5 classes that test and validate; two or more are left to train."""
    # With one class to test on, every answer would be right.
    least = (2, 1)
    counts = [
        max(low, _share(total, share)) for low, share in zip(least, (test, validation), strict=True)
    ]
    while total - sum(counts) < 2:
        spare = [count - low for count, low in zip(counts, least, strict=True)]
        counts[spare.index(max(spare))] -= 1
    return counts[0], counts[1]


def _held_out(dataset: Dataset, train: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """The `train` indices that validate: whole groups, whole classes, or some of each class."""
    assert dataset.official is not None
    labels = dataset.labels[train]
    if not is_disjoint(dataset.official, dataset.labels):
        return train[_of_each_class(labels, share, rng)]
    units = labels
    # A group is drawn whole, since its classes resemble each other: as the test part's groups, a
    # validation group must not be trained on.
    if dataset.groups is not None and _hold_whole_classes(dataset.groups[train], labels):
        units = dataset.groups[train]
    present = _present(units)
    drawn = rng.permutation(present)[: max(1, _share(len(present), share))]
    return train[torch.isin(units, torch.from_numpy(drawn))]


def _of_each_class(labels: Tensor, share: float, rng: np.random.Generator, left: int = 2) -> Tensor:
    """This fraction of each class: two images or more if as many as `left` stay, else one."""
    held = []
    for images in labels.argsort(stable=True).split(labels.unique(return_counts=True)[1].tolist()):
        # One image stays to train: a closed set validates on its training classes.
        least, stay = (2, left) if len(images) >= left + 2 else (1, 1)
        count = min(len(images) - stay, max(least, _share(len(images), share)))
        held.append(images[torch.from_numpy(rng.permutation(len(images))[:count])])
    return torch.cat(held)


def _hold_whole_classes(groups: Tensor, labels: Tensor) -> bool:
    return len(groups.unique()) > 1 and is_disjoint(groups, labels)


def _present(values: Tensor) -> NDArray[np.int64]:
    present: NDArray[np.int64] = values.unique().numpy()
    return present


def _share(total: int, share: float) -> int:
    # Not round(), which rounds half to even.
    return math.floor(total * share + 0.5)


def _check(rule: str, shares: Mapping[str, float], seed: int) -> None:
    for name, share in shares.items():
        if not 0 < share < 1:
            raise UsageError(
                f"option '{name}' of split '{rule}' is a fraction between 0 and 1, not {share}."
            )
    if (total := sum(shares.values())) >= 1:
        fractions = " and ".join(f"{name}={share:g}" for name, share in shares.items())
        raise UsageError(
            f"split '{rule}' leaves nothing to train: {fractions} sum to {total:g}; take less."
        )
    if seed < 0:
        raise UsageError(f"option 'seed' of split '{rule}' is 0 or more, not {seed}.")
