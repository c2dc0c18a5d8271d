"""The test classes of a run, in words."""

from __future__ import annotations

from metricforge.contracts import Dataset
from metricforge.data.split import Split

MOST_NAMES = 8


def held_out_phrase(split: Split, dataset: Dataset) -> str:
    """The test classes in one phrase: "162 characters of 7 scripts that the network never saw".

    It counts the classes whose other images trained, or chose the epoch.
    """
    names = split.classes("test", dataset)
    classes, groups = dataset.nouns
    what = f"{len(names):,} {classes}"
    trained, judged = (len(_shared(split, dataset, part)) for part in ("train", "validation"))
    if trained == len(names):
        return f"other images of {what} that the network was trained on (closed set)"
    if trained:
        return f"{what}, {trained:,} of which the network was trained on"
    if judged:
        return f"{what} that the network was not trained on; {judged:,} of them chose the epoch"
    if unseen := _unseen_groups(split, dataset):
        what += f" of {unseen:,} {groups}"
    listing = f": {', '.join(names)}" if len(names) <= MOST_NAMES else ""
    return f"{what} that the network never saw{listing}"


def _shared(split: Split, dataset: Dataset, part: str) -> set[str]:
    """The test classes with images in another part."""
    return set(split.classes("test", dataset)) & set(split.classes(part, dataset))


def _unseen_groups(split: Split, dataset: Dataset) -> int:
    """The number of groups of the test classes; 0 if any was trained or selected on."""
    if dataset.groups is None:
        return 0
    test = set(dataset.groups[split.test].tolist())
    known = {
        group
        for part in (split.train, split.validation)
        for group in dataset.groups[part].unique().tolist()
    }
    return 0 if test & known or len(test) < 2 else len(test)
