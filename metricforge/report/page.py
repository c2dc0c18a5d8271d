"""One HTML file on a run and its results; it loads nothing and runs nothing."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from metricforge.atomic_files import write_file
from metricforge.contracts import Estimate


@dataclass(frozen=True)
class Part:
    """One part of a split: train, validation or test."""

    name: str
    images: int
    classes: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """The content of the page.

    - `results`: estimates by metric, by column ("trained", "untrained", "pixels"); the first
      column names the rows, others may lack some of them.
    - `closed_set`: the test classes were also trained on, so that the scores do not hold for
      new classes.
    - `times_tested`: how often this split's test classes were opened, including this time.
    - `definitions`: the definition of each metric, by its name.
    - `plots`: PNG files, by caption.
    - `confused`: two classes, how many of their queries are nearest to the other, and of how many.
    - `config`, `environment`: may be nested; tables become "table.key".
    - `command`: the line that repeats the run; empty if none does.
    """

    title: str
    results: Mapping[str, Mapping[str, Estimate]]
    parts: Sequence[Part]
    split_hash: str
    closed_set: bool
    command: str
    times_tested: int = 1
    notes: Sequence[str] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    plots: Mapping[str, Path] = field(default_factory=dict)
    confused: Sequence[tuple[str, str, int, int]] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)


def write_page(path: Path, facts: Facts) -> None:
    """Write `facts` as one UTF-8 HTML file, plots included. The same facts give the same bytes."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["shown"] = printable
    template = environment.from_string(
        files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8")
    )
    page = template.render(
        facts=facts,
        metrics=list(next(iter(facts.results.values()), {})),
        plots={caption: _data_uri(file) for caption, file in facts.plots.items()},
        tables={
            "Configuration": dict(flattened(facts.config)),
            "Environment": dict(flattened(facts.environment)),
        },
    )
    write_file(path, page)


def printable(value: object) -> str:
    """A value as text, with control characters, bidirectional marks and the like escaped.

    Names come from folders: they could hide the text after them, or not be valid UTF-8.
    """
    return "".join(c if c.isprintable() else _spelled(c) for c in str(value))


def flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nested mapping, each under its dotted name."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _data_uri(file: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"
