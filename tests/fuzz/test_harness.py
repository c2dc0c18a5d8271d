"""The harness itself: what it takes for a finding, and how it keeps one."""

from __future__ import annotations

from pathlib import Path

import pytest

from metricforge.errors import ArtefactError, DataError
from metricforge.regular_file import read_text
from tests.fuzz import target
from tests.fuzz.checksums import mend_png, mend_tar
from tests.fuzz.findings import Findings
from tests.fuzz.target import Case, Target, attempt
from tests.fuzz.targets import TARGETS


def reading(outcome: BaseException | None) -> tuple[Target, Case]:
    def read(_: bytes) -> None:
        if outcome is not None:
            raise outcome

    case = Case([b""], read)
    return Target(lambda _: case, (DataError,), 1), case


def test_an_input_is_read_refused_or_a_finding() -> None:
    assert attempt(*reading(None), b"")
    assert not attempt(*reading(DataError("x")), b"")
    for finding in (ArtefactError("of another class"), KeyError("x")):
        with pytest.raises(type(finding)):
            attempt(*reading(finding), b"")


def test_a_reader_that_does_not_end_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: bytes) -> None:
        while True:
            try:
                sum(range(10))
            except Exception:  # as decoders do
                continue

    monkeypatch.setattr(target, "SECONDS", 0.05)
    with pytest.raises(AssertionError, match="more than"):
        attempt(reading(None)[0], Case([b""], read), b"")


def test_the_shortest_input_of_each_place_is_kept(tmp_path: Path) -> None:
    findings = Findings("split", tmp_path)
    try:
        read_text(tmp_path)  # a folder
    except OSError as error:
        for content in (b"long", b"s", b"longer"):
            findings.add(content, error)
    findings.add(b"another place", KeyError("x"))
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"another place", b"s"]
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"split"}


@pytest.mark.parametrize(("name", "mend"), [("png", mend_png), ("tar", mend_tar)])
def test_mending_leaves_a_valid_file_valid(name: str, mend: object, tmp_path: Path) -> None:
    assert TARGETS[name].mend is mend
    case = TARGETS[name].prepare(tmp_path)
    for seed in case.seeds:
        assert attempt(TARGETS[name], case, mend(seed))  # type: ignore[operator]
