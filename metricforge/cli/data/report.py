"""Lines of a report on a dataset: a heading at the left, its text beside it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable

import click

from metricforge.contracts import Dataset
from metricforge.data.split import Split
from metricforge.data.split_rules import PARTS
from metricforge.report.page import printable

INDENT = 11


def print_line(heading: str, text: str, colour: str | None = None, hang: int = 0) -> None:
    """Print a line, wrapped to the width of a terminal; a pipe gets it whole.

    Wrapped lines begin `hang` columns further to the right.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    beside = click.wrap_text(printable(text), width, " " * INDENT, " " * (INDENT + hang))
    click.secho(f"{heading:{INDENT}}", bold=True, nl=False)
    click.secho(beside[INDENT:], fg=colour)


def print_lines(heading: str, texts: Iterable[str]) -> None:
    """Print several lines under one heading."""
    for text in texts:
        print_line(heading, text)
        heading = ""


def print_split(split: Split, dataset: Dataset) -> None:
    """Print the rule of a split, its parts, its kind and its hash."""
    print_line("split", str(split.rule))
    for name in PARTS:
        images = split.part(name)
        classes = len(split.classes(name, dataset))
        counts = [f"{len(images):7,} images", f"{classes:,} class{'es' if classes > 1 else ''}"]
        if dataset.groups is not None:
            groups = len(dataset.groups[images].unique())
            counts.append(f"{groups:,} group{'s' if groups > 1 else ''}")
        print_line("", f"{name:11} {', '.join(counts)}")
    kind = (
        "a closed set: classes that are tested are trained on, too"
        if split.closed_set
        else "classes that are tested are never trained on"
    )
    print_line("", kind)
    print_line("", f"hash {split.hash}")
