"""Names in CSV files, which a spreadsheet must not run."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from metricforge.contracts import Scored
from metricforge.report.csv_cells import inert
from metricforge.scoring.by_class import as_csv

FORMULAS = ('=HYPERLINK("http://example.org")', "+1+1", "-1", "@SUM(A1)", "\t=1", " =1", "\n=1")
PLAIN = ("cat", "1", "a=b", "3-4", "'quoted", "", " x")


@pytest.mark.fault(75)
@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_becomes_text(name: str) -> None:
    assert inert(name) == f"'{name}"


@pytest.mark.parametrize("name", PLAIN)
def test_any_other_name_stays_as_it_is(name: str) -> None:
    assert inert(name) == name


@pytest.mark.fault(75)
def test_no_class_of_by_class_csv_begins_as_a_formula() -> None:
    classes = (*FORMULAS, "cat", "dog\r=1+1", "\r=1")
    values = np.linspace(0, 1, len(classes))
    scored = Scored(values, np.arange(len(classes)))
    header, *rows = csv.reader(io.StringIO(as_csv({"map@r": scored}, classes), newline=""))
    assert header == ["class", "queries", "map@r"]
    assert [row[0] for row in rows] == [
        *(f"'{name}" for name in FORMULAS),
        "cat",
        "dog =1+1",
        "' =1",
    ]
    assert [float(row[2]) for row in rows] == pytest.approx(values.tolist(), abs=1e-5)
