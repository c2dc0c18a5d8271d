"""The table of faults in the docs, made of the tests that ran: `pytest --fault-table FILE`.

A test marked `fault(number)` drives the product into that case of faults.toml.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

CASES: dict[str, dict[str, list[str]]] = tomllib.loads(
    Path(__file__).with_name("faults.toml").read_text()
)
HEAD = """# What MetricForge survives, and what it refuses

Made by `make faults` of the tests that ran and passed; each drives the \
real command, or the public API, into its case. A number is the exit code: 2 usage, 3 data, \
4 plugin, 5 artefact, 6 resource, 7 diverged.
"""
FUZZED = """## Fuzzed by hand

`python -m tests.fuzz TARGET --minutes N`: any bytes in place of a file that is read. What was found
is a test, and lies in `tests/fuzz/corpus`; of these hunts nothing. A part of two minutes runs in
`make test-all`.

| target | minutes | inputs |
|---|---|---|
"""
HUNTS: dict[str, list[int]] = tomllib.loads(
    (Path(__file__).parent / "fuzz" / "hunts.toml").read_text()
)
_passed: dict[int, set[str]] = defaultdict(set)
_others: dict[int, set[str]] = defaultdict(set)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", metavar="FILE", help="write the table of faults")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("fault"):
        item.user_properties.extend(("fault", number) for number in mark.args)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # Of a test that fails to be set up there is no call.
    if report.when == "call" or report.outcome != "passed":
        found = _passed if report.outcome == "passed" else _others
        for name, number in report.user_properties:
            if name == "fault":
                found[int(str(number))].add(report.nodeid.partition("[")[0])


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--fault-table")
    # With xdist, of the process that hears of all tests.
    if path and not hasattr(session.config, "workerinput"):
        Path(path).write_text(table(_passed, _others))


def table(passed: dict[int, set[str]], others: dict[int, set[str]]) -> str:
    """The page: for each case what happens, what is expected, and the tests that saw it."""
    lines = [HEAD]
    for part, cases in CASES.items():
        lines += [
            f"## {part.capitalize()}",
            "",
            "| | case | expected | test |",
            "|---|---|---|---|",
        ]
        for number, (case, expected) in cases.items():
            tests = sorted(passed[int(number)] - others[int(number)])
            told = "<br>".join(f"`{name.replace('::', '` `')}`" for name in tests) or "none passed"
            lines.append(f"| {number} | {case} | {expected} | {told} |")
        lines.append("")
    return "\n".join([*lines, fuzzed()])


def fuzzed() -> str:
    """The section on hunts by hand."""
    rows = [f"| `{name}` | {minutes} | {inputs:,} |\n" for name, (minutes, inputs) in HUNTS.items()]
    return FUZZED + "".join(rows)
