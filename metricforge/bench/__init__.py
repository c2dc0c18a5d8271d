"""Suites: many runs from one file, and the table that compares them."""

from metricforge.bench.grid import grids
from metricforge.bench.result_file import Record, read_records
from metricforge.bench.runner import carry_out
from metricforge.bench.suite import Suite
from metricforge.bench.suite_file import read_suite
from metricforge.bench.table import Table, tabulate
from metricforge.bench.trials import required_records

__all__ = [
    "Record",
    "Suite",
    "Table",
    "carry_out",
    "grids",
    "read_records",
    "read_suite",
    "required_records",
    "tabulate",
]
