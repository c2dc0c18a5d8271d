"""Names of classes and groups as users write them: their order, normal form and lookalikes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_NUMBER = re.compile(r"[+-]?[0-9]+")
_DIGITS = re.compile(r"[0-9]+")
_AS_FLOAT = re.compile(r"(?<=\d)\.0+$")  # "1.0", as pandas writes a 1 beside a missing value
_LEADING_ZEROS = re.compile(r"(?<![0-9.])0+(?=[0-9])")
_LONGEST = 18  # digits of a whole number that a range may end in
_NO_ACCENTS = (0, 7, 8, 9)  # combining classes: none, nukta, kana voicing, virama: other letters
_SHOWN = 3  # sets of names in a warning


def natural_key(name: str) -> tuple[bool, int, str, str]:
    """What sorts names as people do: -5, 2, 10, a2, a10. Numbers come before other names."""
    number = whole_number(name)
    if number is not None:
        return False, number, "", name
    return True, 0, _DIGITS.sub(_by_length, name), name


def whole_number(name: str) -> int | None:
    """The number that a name is, None for another name."""
    return int(name) if len(name) <= _LONGEST and _NUMBER.fullmatch(name) else None


def _by_length(digits: re.Match[str]) -> str:
    # Of numbers without leading zeros the longer one is the larger; text then sorts as numbers do.
    value = digits[0].lstrip("0")
    return f"{len(value):04d}{value}"


def cleaned(name: str) -> str:
    """A name in normal form: in NFC, without blanks around it or around a part of a path.

    Empty parts of a path go: `a/` and `a//b` are `a` and `a/b`.
    """
    parts = [part.strip() for part in unicodedata.normalize("NFC", name).split("/")]
    return "/".join(filter(None, parts)) or "/".join(parts)


@dataclass(frozen=True, eq=False)
class Indexed:
    """The different names, in natural order, and the index of each value among them, int64 [N].

    `notes` list the names whose spelling was changed, `warnings` the lookalikes.
    """

    names: tuple[str, ...]
    places: Tensor
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def indexed(values: Sequence[str], what: str = "labels") -> Indexed:
    """Names that users wrote, normalised and sorted; `what` is what notes call them."""
    counts = Counter(values)
    spelled = {value: cleaned(value) for value in counts}
    names = tuple(sorted(set(spelled.values()), key=natural_key))
    order = {name: index for index, name in enumerate(names)}
    index_of = {value: order[name] for value, name in spelled.items()}
    return Indexed(
        names,
        torch.tensor([index_of[value] for value in values], dtype=torch.int64),
        tuple(respelled(counts, what)),
        tuple(lookalikes(names)),
    )


def indexed_array(values: NDArray[Any], what: str = "labels") -> Indexed:
    """The same of an array [N] of strings or numbers; numbers are named as they are written."""
    different, indices = np.unique(values, return_inverse=True)
    written = list(map(str, different.tolist()))
    names = indexed(written, what)
    counts = Counter(dict(zip(written, np.bincount(indices).tolist(), strict=True)))
    return Indexed(
        names.names,
        names.places[torch.from_numpy(indices.astype(np.int64))],
        tuple(respelled(counts, what)),
        names.warnings,
    )


def respelled(counts: Counter[str], what: str) -> Iterator[str]:
    """Notes on names that are not in normal form; `counts` is how often each was written."""
    blank = {v: n for v, n in counts.items() if any(p != p.strip() for p in v.split("/"))}
    other = {v: n for v, n in counts.items() if not unicodedata.is_normalized("NFC", v)}
    if blank:
        yield f"{what} with blanks around them, which were taken off: {_counted(blank)}."
    if unnamed := {v: n for v, n in counts.items() if "" in v.split("/")}:
        yield f"{what} with a / too many, which was taken off: {_counted(unnamed)}."
    if other:
        yield f"{what} whose Unicode was not composed (NFC), and is now: {_counted(other)}."


def lookalikes(names: Iterable[str]) -> Iterator[str]:
    """A warning of different classes whose names look alike, if there are any."""
    alike: dict[str, list[str]] = {}
    for name in sorted(names, key=natural_key):
        alike.setdefault(folded(name), []).append(name)
    sets = [variants for variants in alike.values() if len(variants) > 1]
    if sets:
        shown = "; ".join(" and ".join(map(repr, variants)) for variants in sets[:_SHOWN])
        more = f"; and {len(sets) - _SHOWN:,} more" if len(sets) > _SHOWN else ""
        yield (
            "class names that differ only in case, leading zeros or accents are classes of their "
            f"own, and one may be tested that was trained on as another: {shown}{more}; rename "
            "those that are one class."
        )


def folded(name: str) -> str:
    """A name without case, accents, leading zeros and the .0 of a number that was made a float."""
    signs = unicodedata.normalize("NFKD", name.casefold())
    letters = (sign for sign in signs if unicodedata.combining(sign) in _NO_ACCENTS)
    plain = _LEADING_ZEROS.sub("", "".join(letters).casefold())
    return " ".join(_AS_FLOAT.sub("", plain).split())


def seen_among(classes: Iterable[str], trained_on: Iterable[str]) -> tuple[str, ...]:
    """The classes of a dataset that bear the names of classes of another, sorted.

    A path also matches by its ends, or as the end of a training class: the number of folders around
    the classes does not matter, nor do case, accents, leading zeros.
    """
    known = {folded(name) for name in trained_on}
    ends = {end for name in known for end in _ends(name)}
    return tuple(
        sorted(
            name for name in set(classes) if folded(name) in ends or known & {*_ends(folded(name))}
        )
    )


def _ends(path: str) -> Iterator[str]:
    """A path with ever fewer of its outermost folders: a/b/c, b/c, c."""
    while path:
        yield path
        path = path.partition("/")[2]


def _counted(counts: dict[str, int]) -> str:
    return f"{sum(counts.values()):,}, e.g. {next(iter(counts))!r}"
