"""Two results of suites: pairs of seeds, each the mean of its folds."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from metricforge.bench.comparison import compare
from metricforge.errors import DataError
from metricforge.tuning.trials import append
from tests.bench.test_table import record


def test_folds_are_no_seeds_and_trials_are_no_runs(tmp_path: Path) -> None:
    for seed, fold in product((0, 1), (0, 1, 2)):
        one = record("a", seed, 0.2 * fold, fold=fold, split_hash=str(fold))
        other = record("a", seed, 0.2 * fold + 0.1 + 0.02 * seed, fold=fold, split_hash=str(fold))
        append(tmp_path / "first.jsonl", one)
        append(tmp_path / "second.jsonl", other)
    append(tmp_path / "first.jsonl", replace(one, id="t", trial=1, results={}))
    found = compare(tmp_path / "first.jsonl", tmp_path / "second.jsonl").approaches["a"]["map@r"]
    first, second, apart = found
    assert first == pytest.approx(0.2)
    assert second == pytest.approx(0.31)
    assert (apart.value, apart.n, apart.over) == (pytest.approx(0.11), 2, "seeds")


def test_what_is_not_the_same_is_told_of(tmp_path: Path) -> None:
    old, new = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    recipe = {"dataset": "digits", "images": 300}
    append(old, record("a", 0, 0.5, recipe=recipe, finished="2026-01-02"))
    # Older, though it comes later; as where a suite has been changed and changed back.
    longer = {**recipe, "images": 3000}
    append(old, record("a", 0, 0.9, id="b", recipe=longer, finished="2026-01-01"))
    append(new, record("a", 0, 0.6, recipe={**recipe, "images": 400, "dim": 8}))
    found = compare(old, new)
    first, second, _ = found.approaches["a"]["map@r"]
    assert (first, second) == (0.5, 0.6)
    assert found.notes == (
        f"{old} has results of 'a' by several recipes: the newest count.",
        "a had other options: images 300 / 400; dim None / 8.",
    )


def test_other_classes_are_not_compared(tmp_path: Path) -> None:
    append(tmp_path / "first.jsonl", record("a", 0, 0.5))
    append(tmp_path / "second.jsonl", record("a", 0, 0.5, split_hash="other"))
    with pytest.raises(DataError, match="no approach in common"):
        compare(tmp_path / "first.jsonl", tmp_path / "second.jsonl")


@pytest.mark.fault(144)
def test_records_of_an_earlier_split_are_no_folds(tmp_path: Path) -> None:
    """A suite was changed, and resumed into the same folder."""
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    old = {
        "recipe": {"dataset": "digits", "split": "random:seed=0"},
        "split_hash": "old",
        "finished": "2026-01-01",
    }
    new = {
        "recipe": {"dataset": "digits", "split": "random:seed=1"},
        "split_hash": "new",
        "finished": "2026-01-02",
    }
    for path, more in ((first, 0.0), (second, 0.2)):
        for seed in (0, 3):
            append(path, record("a", seed, 0.1, id=f"old{seed}", **old))
        for seed in (0, 1, 2):
            append(path, record("a", seed, 0.7 + 0.1 * seed + more * (seed == 2), **new))
    found = compare(first, second)
    before, after, apart = found.approaches["a"]["map@r"]
    assert (before, after, apart.n) == (pytest.approx(0.8), pytest.approx(0.8 + 0.2 / 3), 3)
    assert found.notes == tuple(
        f"{path} has results of 'a' by several recipes: the newest count."
        for path in (first, second)
    )


@pytest.mark.fault(144)
def test_seeds_on_other_classes_and_seeds_without_all_folds_are_told_of(tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    for seed, fold in product((0, 1, 2), (0, 1)):
        append(first, record("a", seed, 0.5, fold=fold, split_hash=str(fold)))
        if (seed, fold) != (1, 1):
            split_hash = "other" if (seed, fold) == (2, 1) else str(fold)
            append(second, record("a", seed, 0.6, fold=fold, split_hash=split_hash))
    found = compare(first, second)
    assert found.approaches["a"]["map@r"][2].n == 1
    assert found.notes == (
        "'a': seed 2 is tested on other classes or images in the two.",
        "'a': seeds 1, 2 are left out, for other folds of the seed are missing.",
    )
