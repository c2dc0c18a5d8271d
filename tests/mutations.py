"""A JSON document with one value of another type, or one gone, as a stranger might have it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from metricforge.errors import ArtefactError, MetricForgeError

OTHERS = (None, True, -1, 1e999, 10**30, "", [], {})


def mutations(value: Any, place: str = "$") -> Iterator[tuple[str, Any]]:
    """What is changed, and the document: each value at any depth by each other, each one gone."""
    for other in OTHERS:
        if (type(other), other) != (type(value), value):
            yield f"{place} = {other!r}", other
    places = range(len(value)) if isinstance(value, list) else ()
    for key in list(value) if isinstance(value, dict) else places:
        for what, changed in mutations(value[key], f"{place}.{key}"):
            copy = value.copy()
            copy[key] = changed
            yield what, copy
        copy = value.copy()
        del copy[key]
        yield f"{place} without {key}", copy


def survive(
    document: Any,
    read: Callable[[str], object],
    named: str,
    kinds: type[MetricForgeError] | tuple[type[MetricForgeError], ...] = ArtefactError,
    written: Callable[[Any], str] = json.dumps,
) -> None:
    """Whether `read` works on each mutation, or raises one of `kinds` that has `named`.

    Before, it works on the document itself; of the mutations some are read, and some are not.
    """
    read(written(document))
    outcomes, wrong = set(), []
    for what, changed in mutations(document):
        try:
            read(written(changed))
            outcomes.add("read")
        except kinds as error:
            outcomes.add("refused")
            if named not in str(error) or str(error).count("\n"):
                wrong.append(f"{what}: {error}")
        except Exception as error:
            wrong.append(f"{what}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)
    assert "refused" in outcomes or not kinds
