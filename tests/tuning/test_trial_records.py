"""What a file of records gives back after a crash, and what is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from metricforge.errors import ArtefactError
from metricforge.tuning.trials import append, read


@dataclass(frozen=True)
class Numbered:
    """A record."""

    number: int


def numbers(path: Path) -> list[int]:
    return [record.number for record in read(path, Numbered, "a file of numbers")]


def write(path: Path, *numbers: int) -> None:
    for number in numbers:
        append(path, Numbered(number))


def test_records_come_back_in_order(tmp_path: Path) -> None:
    write(tmp_path / "new" / "records.jsonl", 0, 1, 2)
    assert numbers(tmp_path / "new" / "records.jsonl") == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 3])
def test_a_line_that_was_cut_short_is_skipped_and_swallows_no_other(
    tmp_path: Path, count: int
) -> None:
    path = tmp_path / "records.jsonl"
    write(path, *range(count))
    path.write_text(path.read_text()[:-5])
    assert numbers(path) == list(range(count - 1))
    write(path, 7, 8)
    assert numbers(path) == [*range(count - 1), 7, 8]


def test_a_last_line_that_lacks_its_end_alone_is_a_record(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"number": 0}')
    write(path, 1)
    assert numbers(path) == [0, 1]


@pytest.mark.parametrize("text", ["nonsense\n", "{}", "[1]\n3\n", '{"number": "x"}'])
def test_a_file_without_a_record_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(text)
    with pytest.raises(ArtefactError, match=r"records\.jsonl is not a file of numbers"):
        numbers(path)
    with pytest.raises(ArtefactError, match="can't be read: Is a directory"):
        numbers(tmp_path)
