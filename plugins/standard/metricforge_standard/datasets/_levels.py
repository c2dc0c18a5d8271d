"""The levels of a tree of folders that name the class and the part of a split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from metricforge.contracts import TEST, TRAIN, VALIDATION
from metricforge.data.class_names import cleaned, lookalikes, natural_key, respelled
from metricforge.errors import DataError, few

Label = Literal["auto", "path", "last", "first"]
PARTS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
"""The names of folders that are the parts of a split, in lower case."""

_MOST_ALIKE = 0.5  # of the folders: if more share their name with another, the user must choose
_SHOWN = 3


@dataclass(frozen=True)
class Levels:
    """The class of each folder with images, and its group and its part, if any.

    `tops` are the names of the folders of the parts.
    """

    classes: Mapping[str, str]
    groups: Mapping[str, str] | None
    parts: Mapping[str, int] | None
    tops: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def order(self) -> list[str]:
        """The folders by their class, in natural order."""
        return sorted(self.classes, key=lambda name: (natural_key(self.classes[name]), name))


def read_levels(folders: Sequence[str], label: Label, parts: Literal["auto", "none"]) -> Levels:
    """The levels of the folders, by their paths; DataError if "auto" is ambiguous."""
    tops = _tops(folders) if parts == "auto" else ()
    below = {name: cleaned(name.partition("/")[2] if tops else name) for name in folders}
    again = _again(list(below.values()))
    if label == "auto" and len(again) > _MOST_ALIKE * len(set(below.values())):
        raise _choose(again)
    classes = {name: _class(path, label) for name, path in below.items()}
    return Levels(
        classes,
        None if label == "first" else _groups(below, classes),
        {name: _part(name) for name in folders} if tops else None,
        tops,
        tuple(respelled(Counter(folders), "folders")),
        (*lookalikes(set(classes.values())), *(_ambiguity_note(again) if label == "auto" else ())),
    )


def _tops(folders: Sequence[str]) -> tuple[str, ...]:
    """The outermost folders, if they are the parts of a split and enclose classes."""
    tops = {name.partition("/")[0] for name in folders}
    parts = {PARTS.get(top.strip().lower()) for top in tops}
    enclosing = {name.partition("/")[0] for name in folders if "/" in name}
    around = {PARTS.get(top.strip().lower()) for top in enclosing} - {None}
    if None in parts and TRAIN in around and len(around) > 1:
        others = sorted(top for top in tops if top.strip().lower() not in PARTS)
        named = ", ".join(sorted(tops - {*others}))
        raise DataError(
            f"the folders {named} look like the parts of a split, but {few(others, _SHOWN)} lie "
            f"beside them: leave these out with exclude={'+'.join(others[:3])}, or take all as "
            "folders of classes with parts=none."
        )
    if TRAIN not in parts or None in parts or len(parts) == 1:
        return ()
    flat = sorted(name for name in folders if "/" not in name)
    if flat:
        # E.g. Kaggle's test folders, which would become a class of their own.
        raise DataError(
            f"the folders {', '.join(sorted(tops))} look like the parts of a split, but images lie "
            f"in '{flat[0]}' itself and have no class; give the folder of the labelled ones, e.g. "
            "path=.../train, or move them into a folder named for their class. With the option "
            f"parts=none '{flat[0]}' is a class."
        )
    return tuple(sorted(tops))


def _part(folder: str) -> int:
    return PARTS[folder.partition("/")[0].strip().lower()]


def _class(path: str, label: Label) -> str:
    if label == "first":
        return path.partition("/")[0]
    return path.rpartition("/")[2] if label == "last" else path


def _again(paths: Sequence[str]) -> list[str]:
    """The paths whose last folder shares its name with another."""
    different = sorted(set(paths), key=natural_key)
    counts = Counter(path.rpartition("/")[2] for path in different)
    return [path for path in different if counts[path.rpartition("/")[2]] > 1]


def _choose(again: Sequence[str]) -> DataError:
    last = again[0].rpartition("/")[2]
    first, second, *_ = (path for path in again if path.rpartition("/")[2] == last)
    return DataError(
        f"folders of one name lie in several folders, e.g. '{first}' and '{second}': say what the "
        f"class is, with the option label=path ('{first}'), label=last ('{last}', one class) or "
        f"label=first ('{first.partition('/')[0]}', one class)."
    )


def _ambiguity_note(again: Sequence[str]) -> Iterator[str]:
    if again:
        yield (
            "folders of one name that lie in several folders are classes of their own: "
            f"{few(again, _SHOWN)}; label=last makes one class of each name."
        )


def _groups(below: Mapping[str, str], classes: Mapping[str, str]) -> Mapping[str, str] | None:
    """The folder around each class; None if a class lies in several, or all classes in one."""
    around = {name: str(PurePosixPath(path).parent) for name, path in below.items()}
    of_class: dict[str, str] = {}
    for name, group in around.items():
        if of_class.setdefault(classes[name], group) != group:
            return None
    return around if len(set(around.values())) > 1 else None
