"""Files of any bytes are read, or refused by the errors that are documented for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.fuzz.inputs import inputs
from tests.fuzz.target import CORPUS, Target, attempt
from tests.fuzz.targets import TARGETS

FEW = 5
"""Examples of each target in the quick case."""


def try_inputs(target: Target, folder: Path, examples: int) -> None:
    case = target.prepare(folder)
    for seed in case.seeds:
        assert attempt(target, case, seed), "a valid file is read"

    @settings(max_examples=examples, derandomize=True, deadline=None, database=None)
    @given(inputs(target, case))
    def try_one(content: bytes) -> None:
        attempt(target, case, content)

    try_one()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    try_inputs(TARGETS[name], tmp_path, TARGETS[name].examples)


@pytest.mark.fault(118)
@pytest.mark.parametrize("name", TARGETS)
def test_some_bytes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    try_inputs(TARGETS[name], tmp_path, FEW)


@pytest.mark.fault(118)
@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_before_is_read_or_refused(name: str, tmp_path: Path) -> None:
    case = TARGETS[name].prepare(tmp_path)
    for path in sorted(CORPUS.glob(f"{name}.*")):
        attempt(TARGETS[name], case, path.read_bytes())


def test_each_input_of_the_corpus_is_of_a_target() -> None:
    assert {path.name.partition(".")[0] for path in CORPUS.iterdir()} <= set(TARGETS)
