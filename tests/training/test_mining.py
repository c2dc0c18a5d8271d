"""What a miner is asked, and which of its tuples reach the loss."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metricforge_standard._pml import MINERS
from metricforge_standard.miners.distance_weighted import DistanceWeighted
from metricforge_standard.miners.random_hard import RandomHard
from torch import Tensor, nn

from metricforge.contracts import AllPairs, AllTriplets, Pairs, Triplets
from metricforge.runtime import Runtime, generator
from metricforge.training.loop import TrainState, fit
from metricforge.training.mining import anchored, mine, takes

ROWS, LABELS = torch.arange(8.0).view(4, 2), torch.tensor([0, 0, 1, 1])
EMPTY = torch.zeros(0, dtype=torch.int64)


class Plain:
    kind = Pairs

    def __call__(self, embeddings: Tensor, labels: Tensor) -> str:
        return "plain"


class Draws:
    kind = Pairs

    def __call__(self, embeddings: Tensor, labels: Tensor, rng: np.random.Generator) -> float:
        return float(rng.random())


class DrawsByName(Draws):
    def __call__(self, embeddings: Tensor, labels: Tensor, *, rng: np.random.Generator) -> float:
        return float(rng.random())


class Module(nn.Module):
    kind = Pairs

    def forward(self, embeddings: Tensor, labels: Tensor) -> str:
        return "plain"


class DrawingModule(nn.Module):
    kind = Pairs

    def forward(self, embeddings: Tensor, labels: Tensor, rng: np.random.Generator) -> float:
        return float(rng.random())


def function(embeddings: Tensor, labels: Tensor, rng: np.random.Generator) -> float:
    return float(rng.random())


def plain_function(embeddings: Tensor, labels: Tensor) -> str:
    return "plain"


@pytest.mark.parametrize(
    "miner",
    [Draws(), DrawsByName(), DrawingModule(), function],
    ids=lambda miner: getattr(miner, "__name__", type(miner).__name__),
)
def test_a_miner_that_asks_is_given_the_generator(miner: Any) -> None:
    assert takes(miner, "rng")
    assert mine(miner, ROWS, LABELS, generator(3, 1, 4)) == generator(3, 1, 4).random()


@pytest.mark.parametrize(
    "miner",
    [Plain(), Module(), plain_function],
    ids=lambda miner: getattr(miner, "__name__", type(miner).__name__),
)
def test_a_miner_that_does_not_ask_is_given_nothing(miner: Any) -> None:
    assert not takes(miner, "rng")
    rng = generator(3, 1, 4)
    assert mine(miner, ROWS, LABELS, rng) == "plain"
    assert rng.random() == generator(3, 1, 4).random(), "it was drawn from"


def test_what_has_no_signature_does_not_draw() -> None:
    assert not takes(dict, "rng")


class Drawing:
    """Random triplets, and what was drawn by epoch and step."""

    kind = Triplets

    def __init__(self) -> None:
        self.drawn: list[list[list[int]]] = []

    def __call__(self, embeddings: Tensor, labels: Tensor, rng: np.random.Generator) -> Triplets:
        found = AllTriplets().listed(labels)
        chosen = torch.from_numpy(rng.choice(len(found.anchor), 5, replace=False))
        self.drawn.append([part[chosen].tolist() for part in found])
        return Triplets(*(part[chosen] for part in found))


def test_the_same_seed_epoch_and_step_draw_the_same(make_setup: Any) -> None:
    runtime = Runtime(torch.device("cpu"))
    drawn = []
    for state, seed in ((1, 4), (2, 4), (1, 5)):
        miner = Drawing()
        setup = make_setup(miner="batch-hard", seed=seed, epochs=2)
        object.__setattr__(setup, "miner", miner)
        torch.manual_seed(state)
        np.random.seed(state)
        list(fit(setup, TrainState(), runtime))
        drawn.append(miner.drawn)
    assert drawn[0] == drawn[1] != drawn[2]
    steps = len(drawn[0]) // 2
    assert drawn[0][:steps] != drawn[0][steps:], "each epoch draws anew"


@pytest.mark.parametrize("name", ["UniformHistogramMiner", "DistanceWeightedMiner"])
def test_pml_miners_that_draw_are_functions_of_the_generator(name: str) -> None:
    rng = torch.Generator().manual_seed(0)
    rows = nn.functional.normalize(torch.randn(40, 8, generator=rng))
    labels = torch.arange(40) % 8
    miner = MINERS[name]()
    before = torch.get_rng_state()
    first = mine(miner, rows, labels, generator(0, 0, 0))
    torch.manual_seed(99)
    held = torch.get_rng_state()
    again = mine(miner, rows, labels, generator(0, 0, 0))
    other = mine(miner, rows, labels, generator(0, 0, 1))
    assert torch.get_rng_state().equal(held)
    torch.set_rng_state(before)
    assert first is not None
    assert again is not None
    assert other is not None
    assert len(first.anchor) > 0
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    assert first.anchor.tolist() != other.anchor.tolist() or first[1].tolist() != other[1].tolist()


def test_making_a_pml_miner_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    MINERS["UniformHistogramMiner"]()
    assert torch.get_rng_state().equal(before)


labels_of_a_batch = st.lists(st.integers(0, 3), max_size=8).map(
    lambda found: torch.tensor(found, dtype=torch.int64)
)


def naive_pairs(labels: Tensor, anchors: int) -> set[tuple[int, int, bool]]:
    return {
        (a, o, bool(labels[a] == labels[o]))
        for a, o in permutations(range(len(labels)), 2)
        if a < anchors
    }


def naive_triplets(labels: Tensor, anchors: int) -> set[tuple[int, int, int]]:
    places = range(len(labels))
    return {
        (a, p, n)
        for a, p, n in product(places, places, places)
        if a < anchors and a != p and labels[a] == labels[p] and labels[a] != labels[n]
    }


def rows_of(tuples: Any) -> list[tuple[Any, ...]]:
    return list(zip(*(part.tolist() for part in tuples), strict=True))


@given(labels_of_a_batch, st.integers(0, 10))
def test_all_pairs_of_some_anchors_are_those_of_a_naive_loop(labels: Tensor, anchors: int) -> None:
    found = AllPairs(anchors=anchors).listed(labels)
    assert len(rows_of(found)) == len(set(rows_of(found)))
    assert set(rows_of(found)) == naive_pairs(labels, anchors)
    assert [part.dtype for part in found] == [torch.int64, torch.int64, torch.bool]
    assert set(rows_of(AllPairs().listed(labels))) == naive_pairs(labels, len(labels))


@given(labels_of_a_batch, st.integers(0, 10))
def test_all_triplets_of_some_anchors_are_those_of_a_naive_loop(
    labels: Tensor, anchors: int
) -> None:
    found = AllTriplets(anchors=anchors).listed(labels)
    assert len(rows_of(found)) == len(set(rows_of(found)))
    assert set(rows_of(found)) == naive_triplets(labels, anchors)
    assert {part.dtype for part in found} == {torch.int64}
    assert set(rows_of(AllTriplets().listed(labels))) == naive_triplets(labels, len(labels))


@given(labels_of_a_batch, st.integers(0, 8))
def test_anchored_keeps_what_begins_in_the_batch(labels: Tensor, anchors: int) -> None:
    pairs, triplets = AllPairs().listed(labels), AllTriplets().listed(labels)
    kept = anchored(pairs, anchors)
    assert isinstance(kept, Pairs)
    assert rows_of(kept) == [row for row in rows_of(pairs) if row[0] < anchors]
    found = anchored(triplets, anchors)
    assert isinstance(found, Triplets)
    assert rows_of(found) == [row for row in rows_of(triplets) if row[0] < anchors]


def test_descriptions_are_narrowed_not_listed_and_nothing_stays_nothing() -> None:
    assert anchored(AllPairs(), 3) == AllPairs(anchors=3)
    assert anchored(AllTriplets(), 3) == AllTriplets(anchors=3)
    assert anchored(None, 3) is None


def test_no_tuples_stay_no_tuples() -> None:
    pairs = anchored(Pairs(EMPTY, EMPTY, EMPTY.bool()), 3)
    triplets = anchored(Triplets(EMPTY, EMPTY, EMPTY), 3)
    assert isinstance(pairs, Pairs)
    assert isinstance(triplets, Triplets)
    assert len(pairs.anchor) == len(triplets.anchor) == 0
    assert pairs.same.dtype == torch.bool


def test_what_a_miner_draws_differs_from_step_to_step_and_repeats(make_setup) -> None:
    """A generator of the epoch alone would give every batch the same draw."""

    class Drawing:
        kind = Triplets

        def __init__(self) -> None:
            self.drawn: list[float] = []

        def __call__(self, embeddings, labels, rng):
            self.drawn.append(rng.random())
            none = torch.zeros(0, dtype=torch.int64)
            return Triplets(none, none, none)

    seen = []
    for _ in range(2):
        miner = Drawing()
        runtime = Runtime(torch.device("cpu"))
        for _ in fit(make_setup(miner=miner, epochs=2), TrainState(), runtime):
            pass
        seen.append(miner.drawn)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == len(seen[0]) > 4


def test_each_positive_of_an_anchor_has_a_draw_of_its_own() -> None:
    rng = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(200, 8, generator=rng))
    labels = torch.arange(200) // 20
    for miner in (RandomHard(margin=2.0), DistanceWeighted(farthest=2.0)):
        found = miner(rows, labels, np.random.default_rng(0))
        first = found.negative[found.anchor == 0]
        assert len(first) == 19
        assert len(first.unique()) > 5


def test_a_draw_at_the_very_end_stays_in_the_batch() -> None:
    """In float32 a draw may round to one, beyond the last that has a chance."""

    class Highest:
        def random(self, shape):
            return np.full(shape, np.nextafter(1.0, 0.0))

    rows = torch.nn.functional.normalize(torch.randn(60, 8))
    labels = torch.arange(60) // 4
    for miner in (RandomHard(margin=2.0), DistanceWeighted()):
        found = miner(rows, labels, Highest())  # type: ignore[arg-type]
        assert (found.negative < 60).all()
        assert (labels[found.negative] != labels[found.anchor]).all()
