"""Which suites there are, and the records of what they have measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.sections import ROOT
from metricforge.bench import Record, read_records, read_suite, required_records
from metricforge.bench.runner import RECORDS

BENCHMARKS = ROOT / "benchmarks"
SUITES = sorted(path.stem for path in (BENCHMARKS / "suites").glob("*.toml"))


def records_of(name: str) -> list[Record]:
    """The records of what a suite asks for, if any of it has been carried out."""
    there = results_of(name) / RECORDS
    return (
        required_records(read_suite(suite_file(name)), read_records(there))
        if there.exists()
        else []
    )


def suite_file(name: str) -> Path:
    """The file that says what a suite compares."""
    return BENCHMARKS / "suites" / f"{name}.toml"


def results_of(name: str) -> Path:
    """The folder of a suite's records and, until they are cleared away, of its runs."""
    return BENCHMARKS / "results" / name
