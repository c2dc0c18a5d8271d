"""The table of faults in the docs is that of the tests there are."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults import CASES, fuzzed

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (\d+) \| (.*) \| (.*) \| (.*) \|$", re.MULTILINE)
MARKED = re.compile(
    r"^@pytest\.mark\.fault\(([\d, ]+)\)\n(?:[@ )\]][^\n]*\n)*def (test_\w+)", re.MULTILINE
)


def test_every_case_has_its_test_and_every_marked_test_its_case():
    marked = {
        (int(number), f"`{path.relative_to(ROOT)}` `{name}`")
        for path in (ROOT / "tests").rglob("test_*.py")
        for numbers, name in MARKED.findall(path.read_text())
        for number in numbers.split(",")
    }
    rows = ROW.findall((ROOT / "docs" / "faults.md").read_text())
    told = {(int(number), test) for number, *_, tests in rows for test in tests.split("<br>")}
    assert (ROOT / "docs" / "faults.md").read_text().endswith(f"\n\n{fuzzed()}")
    assert told == marked, "docs/faults.md is of other tests: make faults"
    cases = {int(number): case for part in CASES.values() for number, case in part.items()}
    assert {int(number): [case, expected] for number, case, expected, _ in rows} == cases
