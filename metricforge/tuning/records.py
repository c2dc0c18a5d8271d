"""A file of records, a line for each: what was done before, and need not be done again."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from metricforge.decoding import decoded, is_json
from metricforge.errors import ArtefactError, ResourceError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R")


def append(path: Path, record: DataclassInstance) -> None:
    """Add a record to a file, on the disk.

    Args:
        path: The file, which is made if need be.
        record: The record, a dataclass.

    Raises:
        ResourceError: The file can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            # A line that was cut short by a crash must not swallow this one.
            file.write(("\n" if _is_open(path) else "") + json.dumps(asdict(record)) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ResourceError(f"can't write {path}: {error.strerror}.") from error


def read(path: Path, kind: type[R], what: str) -> list[R]:
    """The records of a file, in order.

    A damaged line, e.g. one that a crash cut short, is skipped: what it recorded is done again.

    Args:
        path: The file.
        kind: The dataclass of a record.
        what: What the file should be, for the error.

    Returns:
        The records.

    Raises:
        ArtefactError: The file can't be read, or no line is a record.
    """
    try:
        lines = path.read_text(errors="replace").splitlines(keepends=True)
    except OSError as error:
        raise ArtefactError(f"{path} can't be read: {error.strerror}.") from error
    records, damaged = [], None
    for line in filter(str.strip, lines):
        try:
            records.append(decoded(line, kind, closed=True))
        except ValueError as error:
            # A crash while the first line was written leaves one without an end, and no record.
            if line.endswith("\n") or is_json(line):
                damaged = damaged or error
    if damaged and not records:
        raise ArtefactError(f"{path} is not {what} ({damaged}).")
    return records


def _is_open(path: Path) -> bool:
    """Whether a file's last line has no end."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return False
        file.seek(size - 1)
        return file.read(1) != b"\n"
