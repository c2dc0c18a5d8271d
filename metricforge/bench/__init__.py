"""Suites: many runs from one file, and the table that compares them."""

from metricforge.bench.asked import asked_for
from metricforge.bench.carrying_out import carry_out
from metricforge.bench.grid import grids
from metricforge.bench.reading import read_suite
from metricforge.bench.records import Record, read_records
from metricforge.bench.suite import Suite
from metricforge.bench.table import Table, tabulate

__all__ = [
    "Record",
    "Suite",
    "Table",
    "asked_for",
    "carry_out",
    "grids",
    "read_records",
    "read_suite",
    "tabulate",
]
