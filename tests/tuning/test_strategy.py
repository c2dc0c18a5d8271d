"""Who chooses what is tried: the same for the same seed, evenly over what is allowed."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import EntryPoint
from statistics import median

import pytest
from metricforge_standard.searches.random_search import RandomSearch

from metricforge.errors import PluginError, UsageError
from metricforge.registry import Registry
from metricforge.tuning import Searching, usual_search
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
    registry = Registry.installed()
    assert {entry.name for entry in registry.entries("search")} >= {"random", "tpe"}
    assert usual_search(registry) == "tpe"
    space = [Real("loss.margin", 0.05, 0.5)]
    for name in ("random", "tpe"):
        search = Searching(name, 0, space, registry)
        assert 0.05 <= float(search.ask()["loss.margin"]) <= 0.5
        search.tell(0.5)
    with pytest.raises(UsageError, match="unknown search 'tp'; did you mean 'tpe'"):
        Searching("tp", 0, space, registry)


class Evil:
    """Chooses nothing."""

    def __init__(self, seed: int, *, ideas: int = 0) -> None:
        if ideas < 0:
            raise UsageError(f"evil needs ideas >= 0, not {ideas}.")

    def ask(self) -> None:
        raise RuntimeError("no idea")


def test_a_search_that_fails_is_blamed_and_one_alone_is_the_usual_one() -> None:
    def points(*names: str) -> Registry:
        group = "metricforge.searches"
        return Registry([EntryPoint(name, f"{__name__}:Evil", group) for name in names])

    search = Searching("evil", 0, [], points("evil"))
    with pytest.raises(PluginError, match=r"search 'evil' of .* failed: RuntimeError: no idea"):
        search.ask()
    with pytest.raises(UsageError, match="evil needs ideas >= 0, not -1"):
        Searching("evil:ideas=-1", 0, [], points("evil"))
    assert usual_search(points("random", "evil")) == "evil"
    assert usual_search(points("random", "evil", "worse")) == "random"
