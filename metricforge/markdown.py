"""Markdown and YAML of names that strangers chose: their characters are text, never markup."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | float | bool | Sequence[Value] | Mapping[str, Value]"
"""What :func:`front_matter` writes."""

_MARKUP = re.compile(r"[\\`*_\[\]<>&|#~$]")
# Readers make links of these without any markup.
_LINK = re.compile(r"(?<=www)\.|(?<=:)//", re.IGNORECASE)


def text(name: object) -> str:
    """A name as one line of Markdown, also within a cell of a table, not at a line's beginning."""
    escaped = _MARKUP.sub(r"\\\g<0>", _one_line(name))
    return _LINK.sub(r"\\\g<0>", escaped)


def code(name: object) -> str:
    """A name as code within a line; not within a table, whose cells a `|` of it would end."""
    line = _one_line(name)
    ticks = "`" * (1 + _longest_ticks(line))
    # Blanks at both ends are not a part of it, so that it may begin or end with a backtick.
    return f"{ticks} {line} {ticks}" if "`" in line or line != line.strip() else f"`{line}`"


def block(content: str, language: str = "") -> list[str]:
    """Lines as a block of code that none of them can end."""
    fence = "`" * max(3, 1 + _longest_ticks(content))
    return [f"{fence}{language}", *map(_one_line, content.split("\n")), fence]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of cells that are Markdown already; its first column is aligned to the left."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(row)} |" for row in (head, marks, *rows)]


def front_matter(values: Mapping[str, Value]) -> list[str]:
    """The head of a file as the hubs of models read it: YAML between two lines of dashes.

    Strings are in double quotes, so that none is taken for a number, a list or the end. Keys are
    written as they are, and must be plain words.
    """
    return ["---", *_yaml(values), "---"]


def quoted(value: str) -> str:
    """A string of YAML, in double quotes."""
    return '"' + "".join(_in_quotes(c) for c in value) + '"'


def _yaml(value: Value, indent: str = "") -> Iterator[str]:
    """The lines of a mapping or a list."""
    entries: Sequence[tuple[str, Value]]
    if isinstance(value, Mapping):
        entries = [(f"{key}:", each) for key, each in value.items()]
    else:
        assert isinstance(value, Sequence)
        entries = [("-", each) for each in value]
    for mark, each in entries:
        if isinstance(each, str):
            yield f"{indent}{mark} {quoted(each)}"
        elif isinstance(each, bool | int | float):
            yield f"{indent}{mark} {str(each).lower()}"
        elif mark == "-":  # the first line of what the list holds lies beside its dash
            first, *more = _yaml(each, f"{indent}  ")
            yield f"{indent}- {first.lstrip(' ')}"
            yield from more
        else:
            yield f"{indent}{mark}"
            yield from _yaml(each, f"{indent}  ")


def _in_quotes(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    if "\ud800" <= character <= "\udfff":  # of a name that is no UTF-8, and no YAML can have
        return "\ufffd"
    return f"\\U{ord(character):08x}"


def _one_line(name: object) -> str:
    """Without control characters, line ends, marks of direction and halves of characters."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(name)
    )


def _longest_ticks(content: str) -> int:
    return max(map(len, re.findall("`+", content)), default=0)
