"""Who chooses what is tried: the same for the same seed, evenly over what is allowed."""

from __future__ import annotations

from collections import Counter
from statistics import median

import pytest

from metricforge.tuning import RandomSearch, searches
from metricforge.tuning.space import Choice, Dimension, Real, Whole

MANY = 3_000


def tried(dimension: Dimension, seed: int = 0, count: int = MANY) -> list[str]:
    search = RandomSearch(seed)
    return [dimension.pick(search.ask()) for _ in range(count)]


def test_a_seed_chooses_the_same_again_and_another_something_else() -> None:
    dimension = Real("loss.margin", 0.05, 0.5)
    assert tried(dimension, 1, 5) == tried(dimension, 1, 5)
    assert tried(dimension, 1, 5) != tried(dimension, 2, 5)


@pytest.mark.parametrize(
    "dimension", [Choice("dim", ("8", "16", "32")), Whole("dim", 3, 5), Whole("dim", -1, 1)]
)
def test_values_are_chosen_evenly(dimension: Dimension) -> None:
    counts = Counter(tried(dimension))
    assert len(counts) == 3
    assert min(counts.values()) > 0.29 * MANY


def test_a_range_is_chosen_from_evenly_or_by_its_logarithm_where_it_is_wide() -> None:
    even = [float(value) for value in tried(Real("loss.margin", 0.1, 0.5))]
    assert 0.1 <= min(even) < 0.11
    assert 0.49 < max(even) <= 0.5
    assert median(even) == pytest.approx(0.3, abs=0.02)
    wide = [float(value) for value in tried(Real("optimizer.lr", 1e-4, 1e-2))]
    assert min(wide) >= 1e-4
    assert max(wide) <= 1e-2
    assert median(wide) == pytest.approx(1e-3, rel=0.2)
    whole = [int(value) for value in tried(Whole("dim", 1, 100))]
    assert (min(whole), max(whole)) == (1, 100)
    assert median(whole) == pytest.approx(8, abs=1.5)


def test_random_search_is_there_and_what_plugins_add() -> None:
    found = searches()
    assert {"random", "tpe"} <= set(found)
    search = found["tpe"](0)
    chooser = search.ask()
    assert 0.05 <= float(Real("loss.margin", 0.05, 0.5).pick(chooser)) <= 0.5
    search.tell(chooser, 0.5)
