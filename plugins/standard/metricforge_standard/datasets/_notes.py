"""Notes of the user's own data that are worded alike wherever it comes from."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 5  # names in a note


def counted(names: Sequence[str]) -> str:
    """How many there are, and the first of them: "7 (a, b, c, d, e, ...)"."""
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} ({', '.join(names[:_SHOWN])}{more})"


def of_one_image(classes: Sequence[str]) -> str:
    """The note of classes that have one image each."""
    return f"classes of one image, which no other can match: {counted(classes)}."
