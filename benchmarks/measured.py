"""What suites have measured, in benchmarks/results: which are there, and their records."""

from __future__ import annotations

from pathlib import Path

from benchmarks.sections import ROOT
from metricforge.bench import Record, asked_for, read_records, read_suite
from metricforge.bench.carrying_out import RECORDS

HERE = ROOT / "benchmarks"
SUITES = sorted(path.stem for path in (HERE / "suites").glob("*.toml"))


def known(name: str) -> list[Record]:
    """The records of what a suite asks for, if any of it has been carried out."""
    there = results(name) / RECORDS
    return asked_for(read_suite(suite_file(name)), read_records(there)) if there.exists() else []


def suite_file(name: str) -> Path:
    """The file that says what a suite compares."""
    return HERE / "suites" / f"{name}.toml"


def results(name: str) -> Path:
    """The folder of a suite's records and, until they are cleared away, of its runs."""
    return HERE / "results" / name
