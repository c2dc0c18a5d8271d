"""The rules that split a dataset: each gives the part of every image.

A rule is a function of the dataset, and its keyword-only parameters are its options.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metricforge.contracts import TEST, TRAIN, VALIDATION, Dataset
from metricforge.errors import DataError, PluginError, UsageError, unknown

PARTS: Mapping[str, int] = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
"""The parts of a split, in order, with their values in :attr:`Dataset.official`."""

FEWEST_CLASSES = 5

NOWHERE = -1
"""What a rule gives for an image that is in no part."""


def random(
    dataset: Dataset, *, validation: float = 0.2, test: float = 0.3, seed: int = 0
) -> Tensor:
    """Whole classes at random: these shares of them validate and test, the others train."""
    _check("random", {"validation": validation, "test": test}, seed)
    present = _present(dataset.labels)
    if len(present) < FEWEST_CLASSES:
        held = "one class" if len(present) == 1 else f"{len(present)} classes"
        raise DataError(
            f"'{dataset.name}' has {held}; a split that tests on unseen classes needs "
            f"at least {FEWEST_CLASSES}: two to train, one to validate, two to test."
        )
    testing, validating = _class_counts(len(present), validation, test)
    order = np.random.default_rng(seed).permutation(present)
    chosen = torch.full((len(dataset.classes),), TRAIN)
    chosen[torch.from_numpy(order[:testing])] = TEST
    chosen[torch.from_numpy(order[testing : testing + validating])] = VALIDATION
    return chosen[dataset.labels]


def classes(dataset: Dataset, *, train: str, validation: str, test: str) -> Tensor:
    """Named classes: `a+b` joins them, `a-d` is a range in the dataset's order of class names."""
    chosen = torch.full((len(dataset.classes),), NOWHERE)
    twice: set[int] = set()
    for part, text in (("train", train), ("validation", validation), ("test", test)):
        named = sorted(_named(text, dataset.classes))
        twice |= {index for index in named if chosen[index] != NOWHERE}
        chosen[named] = PARTS[part]
    if twice:
        names = ", ".join(dataset.classes[index] for index in sorted(twice))
        raise DataError(f"split 'classes' puts these in more than one part: {names}.")
    return chosen[dataset.labels]


def official(dataset: Dataset, *, validation: float = 0.1, seed: int = 0) -> Tensor:
    """The dataset's own split; where nothing validates, this share of its train part does."""
    _check("official", {"validation": validation}, seed)
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
    if not (parts == VALIDATION).any():
        rng = np.random.default_rng(seed)
        parts[_held_out(dataset, (parts == TRAIN).nonzero().flatten(), validation, rng)] = (
            VALIDATION
        )
    return parts


RULES: Mapping[str, Callable[..., Tensor]] = {
    "random": random,
    "classes": classes,
    "official": official,
}
"""The rules by name; each takes the dataset and gives int64 [N], values of PARTS or NOWHERE."""


def is_disjoint(parts: Tensor, labels: Tensor) -> bool:
    """Whether no class has images in two of these parts [N]; NOWHERE is no part."""
    used = parts != NOWHERE
    pairs = torch.stack((labels[used], parts[used])).unique(dim=1)
    return int(pairs.shape[1]) == len(labels[used].unique())


def _class_counts(total: int, validation: float, test: float) -> tuple[int, int]:
    """How many of `total` >= 5 classes test and validate; two or more are left to train."""
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
    """Those of the `train` indices that validate: whole groups, whole classes, or some of each."""
    assert dataset.official is not None
    labels = dataset.labels[train]
    if not is_disjoint(dataset.official, dataset.labels):
        return train[_of_each_class(labels, share, rng)]
    units = labels
    # A group is drawn whole, since its classes resemble each other: so are the groups of the
    # test part unseen.
    if dataset.groups is not None and _hold_whole_classes(dataset.groups[train], labels):
        units = dataset.groups[train]
    present = _present(units)
    drawn = rng.permutation(present)[: max(1, _share(len(present), share))]
    return train[torch.isin(units, torch.from_numpy(drawn))]


def _of_each_class(labels: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    held = []
    for images in labels.argsort(stable=True).split(labels.unique(return_counts=True)[1].tolist()):
        # One image stays to train: a closed set validates on classes that it has seen.
        count = min(len(images) - 1, max(1, _share(len(images), share)))
        held.append(images[torch.from_numpy(rng.permutation(len(images))[:count])])
    return torch.cat(held)


def _hold_whole_classes(groups: Tensor, labels: Tensor) -> bool:
    return len(groups.unique()) > 1 and is_disjoint(groups, labels)


def _named(text: str, names: Sequence[str]) -> set[int]:
    """The indices of the classes that `text` names."""
    order = {name: index for index, name in enumerate(names)}
    pieces = text.split("+")
    # The longest reading comes first, because a class name may have a plus in it.
    reach = 1 + 2 * max(name.count("+") for name in names)
    found: set[int] = set()
    start = 0
    while start < len(pieces):
        for end in range(min(len(pieces), start + reach), start, -1):
            read = _name_or_range("+".join(pieces[start:end]), order)
            if read:
                break
        else:
            raise unknown("class", pieces[start], names)
        found |= set(read)
        start = end
    return found


def _name_or_range(text: str, order: Mapping[str, int]) -> range:
    """The indices that one name or one range gives; none when it is neither."""
    if text in order:
        return range(order[text], order[text] + 1)
    dashes = [place for place, sign in enumerate(text) if sign == "-"]
    ends = [(text[:place], text[place + 1 :]) for place in dashes]
    ends = [(first, last) for first, last in ends if first in order and last in order]
    if not ends:
        return range(0)
    if len(ends) > 1:
        readings = " or ".join(f"'{first}' to '{last}'" for first, last in ends)
        raise UsageError(
            f"the range '{text}' can be read as {readings}; name the classes with '+'."
        )
    first, last = ends[0]
    if order[first] > order[last]:
        raise UsageError(f"the range '{text}' runs backwards; write '{last}-{first}'.")
    return range(order[first], order[last] + 1)


def _present(values: Tensor) -> NDArray[np.int64]:
    present: NDArray[np.int64] = values.unique().numpy()
    return present


def _share(total: int, share: float) -> int:
    # Not round(), which takes half of the fives down and half of them up.
    return math.floor(total * share + 0.5)


def _check(rule: str, shares: Mapping[str, float], seed: int) -> None:
    for name, share in shares.items():
        if not 0 < share < 1:
            raise UsageError(
                f"option '{name}' of split '{rule}' is a share between 0 and 1, not {share}."
            )
    if sum(shares.values()) >= 1:
        raise UsageError(
            f"split '{rule}' leaves nothing to train: {' and '.join(shares)} sum to 1."
        )
    if seed < 0:
        raise UsageError(f"option 'seed' of split '{rule}' is 0 or more, not {seed}.")
