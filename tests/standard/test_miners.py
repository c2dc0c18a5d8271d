"""Miners against naive loops in float64: random, tied, duplicate, one-class, singleton, empty."""

from __future__ import annotations

import math
import tracemalloc
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from metricforge_standard.miners._laid_out import LaidOutPairs, LaidOutTriplets
from metricforge_standard.miners.all_pairs import AllPairs
from metricforge_standard.miners.all_triplets import AllTriplets
from metricforge_standard.miners.batch_hard import BatchHard
from metricforge_standard.miners.distance_weighted import DistanceWeighted
from metricforge_standard.miners.easy_positive import EasyPositive
from metricforge_standard.miners.hard_pairs import HardPairs
from metricforge_standard.miners.multi_similarity import MultiSimilarity
from metricforge_standard.miners.n_hard import NHard
from metricforge_standard.miners.paced_hard import PacedHard
from metricforge_standard.miners.random_hard import RandomHard
from metricforge_standard.miners.semihard import SemiHard
from metricforge_standard.miners.whole_batch import WholeBatch

from metricforge import contracts
from metricforge.contracts import Pairs, Triplets
from metricforge.errors import UsageError
from metricforge.pairwise import row_search, tiling
from metricforge.training.mining import mine
from tests.covering import covering

quick = settings(deadline=None, max_examples=60)

# Whole numbers, so that distances are exact, and few of them, so that ties and duplicates abound.
points = st.lists(
    st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.integers(0, 2)), min_size=0, max_size=14
)

BATCHES = {
    "empty": [],
    "one image": [(0, 0, 0)],
    "one class": [(0, 0, 1), (1, 0, 1), (2, 0, 1)],
    "only singletons": [(0, 0, 0), (1, 0, 1), (2, 0, 2)],
    "all in one place": [(1, 1, 0), (1, 1, 0), (1, 1, 1), (1, 1, 1)],
    "ties": [(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 1), (0, -1, 1)],
    "far off": [(900, 900, 0), (901, 900, 0), (900, 902, 1), (903, 900, 1), (900, 900, 2)],
}
DTYPES = [torch.float64, torch.float32]


TILES = ("one tile", "tiles", "many tiles, sorted")


@pytest.fixture(params=TILES)
def tiles(request, monkeypatch):
    """The sizes of tiles, and of rows to sort, must not matter."""
    if request.param != "one tile":
        monkeypatch.setattr(tiling, "FEWEST_ANCHORS", 3)
        monkeypatch.setattr(tiling, "ON_CPU", 1)
    if request.param.endswith("sorted"):
        monkeypatch.setattr(row_search, "MANY", 1)


def batch_of(rows, dtype=torch.float64):
    embeddings = torch.tensor([row[:2] for row in rows], dtype=dtype).view(-1, 2)
    return embeddings, torch.tensor([row[2] for row in rows], dtype=torch.int64)


def random_rows(count, classes, seed=0):
    rng = np.random.default_rng(seed)
    places = rng.integers(-20, 20, (count, 2))
    return [(int(x), int(y), int(c)) for (x, y), c in zip(places, rng.integers(classes, size=count),
                                                        strict=True)]  # fmt: skip


def distance(rows, first, second):
    return math.dist(rows[first][:2], rows[second][:2])


class Naive:
    """Every question about a batch, answered by a loop."""

    def __init__(self, rows):
        self.rows, self.places = rows, range(len(rows))

    def positives(self, a):
        return [i for i in self.places if i != a and self.rows[i][2] == self.rows[a][2]]

    def negatives(self, a):
        return [i for i in self.places if self.rows[i][2] != self.rows[a][2]]

    def far(self, a):
        return sorted((distance(self.rows, a, i) for i in self.positives(a)), reverse=True)

    def near(self, a):
        return sorted(distance(self.rows, a, i) for i in self.negatives(a))


def mined(miner, rows, dtype=torch.float64):
    """The triplets as (anchor, d(anchor, positive), d(anchor, negative)), checked to be true."""
    triplets = miner(*batch_of(rows, dtype))
    assert isinstance(triplets, Triplets)
    assert all(part.dtype == torch.int64 and part.ndim == 1 for part in triplets)
    found = []
    for anchor, positive, negative in zip(*(part.tolist() for part in triplets), strict=True):
        assert positive != anchor
        assert rows[positive][2] == rows[anchor][2] != rows[negative][2]
        found.append((anchor, distance(rows, anchor, positive), distance(rows, anchor, negative)))
    return sorted(found)


def batch_hard(rows):
    naive = Naive(rows)
    both = [a for a in naive.places if naive.positives(a) and naive.negatives(a)]
    return [(a, naive.far(a)[0], naive.near(a)[0]) for a in both]


def paced_hard(rows, above=0.5):
    naive = Naive(rows)
    hard = batch_hard(rows)
    late = [(a, far) for a, far, near in hard if near <= far]
    if len(late) <= above * len(hard):
        return hard
    beyond = [(a, far, [near for near in naive.near(a) if near > far]) for a, far in late]
    early = [(a, far, near) for a, far, near in hard if near > far]
    return sorted([*early, *((a, far, near[0]) for a, far, near in beyond if near)])


def semihard(rows):
    naive = Naive(rows)
    beyond = [
        (a, far, [near for near in naive.near(a) if near > far])
        for a in naive.places
        for far in naive.far(a)
    ]
    return sorted((a, far, near[0]) for a, far, near in beyond if near)


def easy_positive(rows):
    naive = Naive(rows)
    nearest = [(a, naive.far(a)[-1]) for a in naive.places if naive.positives(a)]
    beyond = [(a, d, [near for near in naive.near(a) if near > d]) for a, d in nearest]
    return [(a, d, near[0]) for a, d, near in beyond if near]


def easy_positive_hard(rows):
    naive = Naive(rows)
    both = [a for a in naive.places if naive.positives(a) and naive.negatives(a)]
    return [(a, naive.far(a)[-1], naive.near(a)[0]) for a in both]


def n_hard(rows, positives, negatives):
    naive = Naive(rows)
    return sorted(
        (a, far, near)
        for a in naive.places
        for far in naive.far(a)[:positives]
        for near in naive.near(a)[:negatives]
    )


SELECTORS = {
    "batch-hard": (BatchHard(), batch_hard),
    "paced-hard": (PacedHard(), paced_hard),
    "paced-hard:above=0": (PacedHard(above=0), lambda rows: paced_hard(rows, 0)),
    "paced-hard:above=1": (PacedHard(above=1), batch_hard),
    "semihard": (SemiHard(), semihard),
    "easy-positive": (EasyPositive(), easy_positive),
    "easy-positive:negative=hard": (EasyPositive(negative="hard"), easy_positive_hard),
    "n-hard": (NHard(), lambda rows: n_hard(rows, 2, 2)),
    "n-hard:positives=1,negatives=5": (
        NHard(positives=1, negatives=5),
        lambda rows: n_hard(rows, 1, 5),
    ),
}
every_selector = pytest.mark.parametrize("selector", SELECTORS)


@every_selector
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BATCHES)
def test_a_selector_on_what_is_special(selector, name, dtype):
    miner, naive = SELECTORS[selector]
    assert mined(miner, BATCHES[name], dtype) == naive(BATCHES[name])


@every_selector
@pytest.mark.usefixtures("tiles")
def test_a_selector_on_a_larger_batch_is_the_naive_loop(selector):
    # More than a run of `lowest`, so that the rows are searched in two steps.
    miner, naive = SELECTORS[selector]
    for classes in (3, 40):
        rows = random_rows(150, classes)
        assert mined(miner, rows) == naive(rows)


@every_selector
@quick
@given(rows=points)
def test_a_selector_is_the_naive_loop(selector, rows):
    miner, naive = SELECTORS[selector]
    assert mined(miner, rows) == naive(rows)


@pytest.mark.parametrize("above", [-0.1, 1.1, float("nan")])
def test_a_pace_is_a_fraction(above):
    with pytest.raises(UsageError, match="above from 0 to 1"):
        PacedHard(above=above)


def test_batch_hard_finds_far_apart_what_bfloat16_would_round_together():
    # 257 and 256, the squared distances of the two negatives, are one number in bfloat16.
    rows = [(16, 0, 0), (15, 0, 0), (0, 1, 1), (0, 0, 1)]
    assert mined(BatchHard(), rows, torch.bfloat16) == batch_hard(rows)


def test_a_near_duplicate_far_from_the_origin_is_found_in_float32():
    # By a bare product of matrices all these distances would round to the same.
    embeddings = torch.full((4, 8), 100.0)
    embeddings[1, 0] += 3e-4
    embeddings[2, 0] += 1e-4
    embeddings[3, 0] += 2e-4
    triplets = BatchHard()(embeddings, torch.tensor([0, 0, 1, 1]))
    assert triplets.negative[triplets.anchor == 0].tolist() == [2]
    assert triplets.negative[triplets.anchor == 1].tolist() == [3]


def copies(seed, classes, each, dim):
    """Float32 embeddings of unit length, most of which have exact copies with other labels."""
    rng = torch.Generator().manual_seed(seed)
    points = torch.nn.functional.normalize(torch.randn(classes * each, dim, generator=rng))
    labels = torch.arange(classes).repeat_interleave(each)
    return torch.cat([points, points]), torch.cat([labels, (labels + 1) % classes])


FARTHER = {
    "semihard": (SemiHard(), lambda own: own),
    "easy-positive": (EasyPositive(), lambda own: own[:1]),
    # Of all anchors: of each the nearest negative is no farther than the farthest positive.
    "paced-hard": (PacedHard(above=0), lambda own: own[-1:]),
}


@pytest.mark.fault(92)
@pytest.mark.parametrize("name", FARTHER)
@quick
@given(
    seed=st.integers(0, 2**32),
    classes=st.integers(2, 5),
    each=st.integers(2, 5),
    dim=st.sampled_from([2, 8, 64]),
)
def test_a_copy_of_the_positive_is_no_negative_that_is_farther(name, seed, classes, each, dim):
    miner, positives_of = FARTHER[name]
    embeddings, labels = copies(seed, classes, each, dim)
    exact = embeddings.double()
    apart = [[math.dist(a, b) for b in exact.tolist()] for a in exact.tolist()]
    found = defaultdict(list)
    for anchor, positive, negative in zip(*(p.tolist() for p in miner(embeddings, labels)),
                                          strict=True):  # fmt: skip
        found[anchor].append((apart[anchor][positive], apart[anchor][negative]))
    rounding = 1e-5
    for a in range(len(labels)):
        own = sorted(apart[a][i] for i in range(len(labels)) if i != a and labels[i] == labels[a])
        others = sorted(apart[a][i] for i in range(len(labels)) if labels[i] != labels[a])
        for near, far in found[a]:
            if name == "paced-hard" and near < others[0] - rounding:
                continue  # its hardest triplet is already in order
            assert far > near, "no farther, as float64 has it"
        # None that is clearly farther is missed, nor one that is farther still chosen.
        for positive in positives_of(own):
            beyond = [other for other in others if other > positive + rounding]
            if beyond:
                best = min(beyond)
                assert any(
                    abs(near - positive) <= rounding and far <= best + rounding
                    for near, far in found[a]
                )


def random_hard(rows, margin, power):
    """For each anchor and positive the negatives it may get."""
    naive = Naive(rows)
    return {
        (a, p): {
            n for n in naive.negatives(a)
            if distance(rows, a, n) ** power < distance(rows, a, p) ** power + margin
        }
        for a in naive.places
        for p in naive.positives(a)
    }  # fmt: skip


def check_random_hard(rows, margin, squared=False):
    miner = RandomHard(margin=margin, squared=squared)
    triplets = miner(*batch_of(rows), np.random.default_rng(0))
    allowed = random_hard(rows, margin, 2 if squared else 1)
    found = {}
    for anchor, positive, negative in zip(*(part.tolist() for part in triplets), strict=True):
        assert (anchor, positive) not in found
        assert negative in allowed[anchor, positive]
        found[anchor, positive] = negative
    assert set(found) == {pair for pair, negatives in allowed.items() if negatives}


@pytest.mark.parametrize("name", BATCHES)
def test_random_hard_on_what_is_special(name):
    check_random_hard(BATCHES[name], 0.2)


@pytest.mark.usefixtures("tiles")
def test_random_hard_on_a_larger_batch():
    for squared in (False, True):
        check_random_hard(random_rows(150, 30), 0.2, squared)


@quick
@given(points, st.sampled_from([0.1, 0.7, 2.5]), st.booleans())
def test_random_hard_is_the_naive_loop(rows, margin, squared):
    check_random_hard(rows, margin, squared)


@pytest.mark.usefixtures("tiles")
def test_random_hard_draws_each_violating_negative_as_often():
    rows = [(0, 0, 0), (2, 0, 0), *((1, y, 1) for y in range(5)), (50, 0, 2)]
    counts = Counter()
    for seed in range(600):
        triplets = RandomHard(margin=1.0)(*batch_of(rows), np.random.default_rng(seed))
        counts.update(triplets.negative[triplets.anchor == 0].tolist())
    # Nearer than 2 + 1 are three of the five, with 200 draws expected of each (deviation 12).
    assert set(counts) == {2, 3, 4}
    assert all(abs(count - 200) < 50 for count in counts.values())


def test_random_hard_takes_the_margin_of_the_loss_or_a_default():
    rows, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
    rng = np.random.default_rng(0)
    # The second image's negative lies 0.5 nearer than its positive, the first's 0.5 farther.
    assert RandomHard()(rows, labels, rng).anchor.tolist() == [1]
    assert RandomHard(margin=0.7)(rows, labels, rng).anchor.tolist() == [0, 1]
    assert mine(RandomHard(), rows, labels, rng, 0.7).anchor.tolist() == [0, 1]
    assert mine(RandomHard(margin=0.1), rows, labels, rng, 0.7).anchor.tolist() == [1]


def check_hard_pairs(rows, dtype=torch.float64):
    pairs = HardPairs()(*batch_of(rows, dtype))
    assert isinstance(pairs, Pairs)
    listed = list(zip(*(part.tolist() for part in pairs), strict=True))
    assert len({frozenset(pair[:2]) for pair in listed}) == len(listed)
    naive = Naive(rows)
    positives = {frozenset((a, p)) for a in naive.places for p in naive.positives(a)}
    assert {frozenset(pair[:2]) for pair in listed if pair[2]} == positives
    negatives = [(a, n) for a in naive.places for n in naive.negatives(a) if a < n]
    nearest = sorted(distance(rows, *pair) for pair in negatives)[: len(positives)]
    assert sorted(distance(rows, a, n) for a, n, same in listed if not same) == nearest


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BATCHES)
def test_hard_pairs_on_what_is_special(name, dtype):
    check_hard_pairs(BATCHES[name], dtype)


@pytest.mark.usefixtures("tiles")
def test_hard_pairs_on_a_larger_batch():
    check_hard_pairs(random_rows(150, 30))


@quick
@given(points)
def test_hard_pairs_is_the_naive_loop(rows):
    check_hard_pairs(rows)


def multi_similarity(embeddings, labels, epsilon):
    rows = [[v / math.hypot(*row) for v in row] for row in embeddings.tolist()]
    same = [[a == b for b in labels.tolist()] for a in labels.tolist()]
    cosine = [[math.sumprod(a, b) if hasattr(math, "sumprod") else sum(
        x * y for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]  # fmt: skip
    found = set()
    for a in range(len(rows)):
        others = [i for i in range(len(rows)) if i != a]
        positives = [cosine[a][i] for i in others if same[a][i]]
        negatives = [cosine[a][i] for i in others if not same[a][i]]
        for i in others:
            if same[a][i] and negatives and cosine[a][i] < max(negatives) + epsilon:
                found.add((a, i, True))
            if not same[a][i] and positives and cosine[a][i] > min(positives) - epsilon:
                found.add((a, i, False))
    return found


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5])
@pytest.mark.usefixtures("tiles")
def test_multi_similarity_is_the_naive_loop(epsilon):
    rng = torch.Generator().manual_seed(0)
    for count, classes in ((40, 6), (12, 1), (12, 12), (2, 2), (1, 1)):
        embeddings = torch.randn(count, 5, generator=rng, dtype=torch.float64)
        labels = torch.arange(count) % classes
        pairs = MultiSimilarity(epsilon=epsilon)(embeddings, labels)
        listed = list(zip(*(part.tolist() for part in pairs), strict=True))
        assert len(listed) == len(set(listed))
        assert set(listed) == multi_similarity(embeddings, labels, epsilon)


def on_sphere(count, dim, seed=0):
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, dim, generator=rng, dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def weight(distance, dim, nearest):
    d = max(distance, nearest)
    return d ** (2 - dim) * (1 - d * d / 4) ** ((3 - dim) / 2)


@pytest.mark.parametrize(("tiles", "dim"), covering(TILES, [2, 3, 8]), indirect=["tiles"])
@pytest.mark.usefixtures("tiles")
def test_distance_weighted_draws_by_the_inverse_density(dim):
    embeddings, labels = on_sphere(10, dim), torch.tensor([0, 0, *range(1, 9)])
    miner = DistanceWeighted(nearest=0.5, farthest=1.9)
    draws = defaultdict(Counter)
    for seed in range(1000):
        triplets = miner(embeddings, labels, np.random.default_rng(seed))
        assert triplets.positive.tolist() == [1, 0]
        for anchor, negative in zip(triplets.anchor.tolist(), triplets.negative.tolist(),
                                    strict=True):  # fmt: skip
            draws[anchor][negative] += 1
    for anchor in (0, 1):
        apart = {i: math.dist(embeddings[anchor], embeddings[i]) for i in range(2, 10)}
        weights = {i: weight(d, dim, 0.5) for i, d in apart.items() if d < 1.9}
        total = sum(weights.values())
        assert set(draws[anchor]) <= set(weights)
        for i, w in weights.items():
            share = w / total
            deviation = math.sqrt(1000 * share * (1 - share))
            assert abs(draws[anchor][i] - 1000 * share) < 5 * deviation + 1


@pytest.mark.usefixtures("tiles")
def test_distance_weighted_draws_from_all_when_none_is_in_reach():
    embeddings = torch.tensor([[1.0, 0], [1, 0], [-1, 0.1], [-1, 0], [-1, -0.1]])
    labels = torch.tensor([0, 0, 1, 2, 3])
    seen = set()
    for seed in range(60):
        triplets = DistanceWeighted()(embeddings, labels, np.random.default_rng(seed))
        seen.update(triplets.negative[triplets.anchor == 0].tolist())
    assert seen == {2, 3, 4}


@quick
@given(points)
def test_distance_weighted_gives_each_positive_pair_a_negative(rows):
    triplets = DistanceWeighted()(*batch_of(rows), np.random.default_rng(0))
    naive = Naive(rows)
    listed = list(zip(*(part.tolist() for part in triplets), strict=True))
    expected = [(a, p) for a in naive.places for p in naive.positives(a) if naive.negatives(a)]
    assert sorted((a, p) for a, p, _ in listed) == expected
    assert all(rows[a][2] != rows[n][2] for a, _, n in listed)


def test_all_are_described_and_not_listed():
    embeddings, labels = batch_of(BATCHES["ties"])
    assert AllPairs()(embeddings, labels, np.random.default_rng(0)) == contracts.AllPairs()
    assert AllTriplets()(embeddings, labels) == contracts.AllTriplets()
    assert (AllPairs.kind, AllTriplets.kind) == (Pairs, Triplets)


def balanced(labels, seed=0):
    labels = torch.tensor(labels, dtype=torch.int64)
    miner = AllPairs(balanced=True)
    pairs = miner(torch.zeros(len(labels), 2), labels, np.random.default_rng(seed))
    assert [part.dtype for part in pairs] == [torch.int64, torch.int64, torch.bool]
    return list(zip(*(part.tolist() for part in pairs), strict=True))


@quick
@given(st.lists(st.integers(0, 4), max_size=12))
def test_balanced_pairs_are_all_positive_ones_and_as_many_negative_ones(labels):
    every = [(a, b) for b in range(len(labels)) for a in range(b)]
    positive = {(a, b) for a, b in every if labels[a] == labels[b]}
    negative = set(every) - positive
    pairs = balanced(labels)
    assert sorted((a, b) for a, b, same in pairs if same) == sorted(positive)
    drawn = [(a, b) for a, b, same in pairs if not same]
    assert len(set(drawn)) == len(drawn) == min(len(positive), len(negative))
    assert set(drawn) <= negative


@pytest.mark.parametrize("labels", [[0, 0, 1, 2, 3], [0, 0, 0, 1, 1]])
def test_balanced_pairs_draw_each_negative_as_likely_as_the_next(labels):
    draws = Counter(pair for seed in range(3000) for pair in balanced(labels, seed) if not pair[2])
    possible = sum(labels[a] != labels[b] for b in range(len(labels)) for a in range(b))
    share = sum(labels[a] == labels[b] for b in range(len(labels)) for a in range(b)) / possible
    assert len(draws) == possible
    deviation = math.sqrt(3000 * share * (1 - share))
    assert all(abs(count - 3000 * share) < 4.5 * deviation for count in draws.values())


def test_balanced_pairs_of_a_large_batch_take_the_memory_of_the_pairs():
    labels = torch.arange(2**15) // 4
    tracemalloc.start()
    pairs = AllPairs(balanced=True)(labels[:, None], labels, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(pairs.same) == 2 * int(pairs.same.sum()) == 2 * 6 * 2**13
    # Half a thousand million negatives are never listed.
    assert peak < 400 * len(pairs.same)


@pytest.mark.parametrize("build", [
    lambda: NHard(positives=0), lambda: NHard(negatives=0), lambda: DistanceWeighted(nearest=0),
    lambda: DistanceWeighted(nearest=1.5, farthest=1.4), lambda: DistanceWeighted(farthest=2.5),
])  # fmt: skip
def test_options_that_choose_nothing_are_refused(build):
    with pytest.raises(UsageError, match="needs"):
        build()


def check_listed(labels):
    numbers = range(len(labels))
    pairs = contracts.AllPairs().listed(torch.tensor(labels, dtype=torch.int64))
    assert isinstance(pairs, Pairs)
    assert pairs.same.dtype == torch.bool
    assert list(zip(*(part.tolist() for part in pairs), strict=True)) == [
        (a, b, labels[a] == labels[b]) for a in numbers for b in numbers if a != b
    ]
    triplets = contracts.AllTriplets().listed(torch.tensor(labels, dtype=torch.int64))
    assert isinstance(triplets, Triplets)
    assert list(zip(*(part.tolist() for part in triplets), strict=True)) == [
        (a, p, n)
        for a in numbers
        for p in numbers
        for n in numbers
        if a != p and labels[a] == labels[p] != labels[n]
    ]
    assert all(part.dtype == torch.int64 for part in (*pairs[:2], *triplets))


@pytest.mark.parametrize("labels", [[], [4], [1, 1, 1], [1, 2, 3], [5, -1, 5, -1]])
def test_listed_tuples_of_what_is_special(labels):
    check_listed(labels)


@quick
@given(st.lists(st.integers(-1, 3), max_size=9))
def test_listed_tuples_are_the_naive_loop(labels):
    check_listed(labels)


def test_what_is_listed_already_stays_as_it_is():
    labels = torch.tensor([0, 1])
    pairs = Pairs(torch.tensor([0]), torch.tensor([1]), torch.tensor([False]))
    triplets = Triplets(torch.tensor([0]), torch.tensor([1]), torch.tensor([0]))
    assert pairs.listed(labels) is pairs
    assert triplets.listed(labels) is triplets


def test_laid_out_pairs_are_named_by_their_places():
    pairs = LaidOutPairs()(torch.zeros(6, 2), torch.tensor([1, 1, 1, 2, 3, 3]))
    assert [part.tolist() for part in pairs] == [[0, 2, 4], [1, 3, 5], [True, False, True]]


def test_laid_out_triplets_are_named_by_their_places():
    triplets = LaidOutTriplets()(torch.zeros(6, 2), torch.tensor([1, 1, 2, 2, 2, 3]))
    assert [part.tolist() for part in triplets] == [[0, 3], [1, 4], [2, 5]]


def test_the_whole_batch_is_no_tuples():
    assert WholeBatch().kind is None
    assert WholeBatch()(torch.zeros(4, 2), torch.arange(4)) is None


@pytest.mark.parametrize("miner", [LaidOutPairs(), LaidOutTriplets()])
def test_an_empty_batch_lays_out_nothing(miner):
    tuples = miner(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    assert isinstance(tuples, miner.kind)
    assert all(len(part) == 0 for part in tuples)


def test_hard_pairs_go_out_from_the_first_of_the_batch():
    # So that with a memory behind the batch, none is lost for being anchored in it.
    rows = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    pairs = HardPairs()(rows, torch.arange(40) % 7)
    assert (pairs.anchor < pairs.other).all()


def test_a_pair_beyond_twice_what_is_wanted_is_still_found(monkeypatch):
    monkeypatch.setattr(tiling, "FEWEST_ANCHORS", 1)
    monkeypatch.setattr(tiling, "ON_CPU", 1)
    rng = torch.Generator().manual_seed(0)
    rows, labels = torch.randn(60, 4, generator=rng, dtype=torch.float64), torch.arange(60) // 4
    pairs = HardPairs()(rows, labels)
    apart = torch.cdist(rows, rows)
    negatives = apart[(labels[:, None] < labels)].sort().values[: int(pairs.same.sum())]
    found = apart[pairs.anchor, pairs.other][~pairs.same].sort().values
    assert torch.allclose(found, negatives)


@pytest.mark.parametrize("per_class", [4, 60])
def test_nan_is_no_threshold_of_random_hard(per_class):
    rows = torch.randn(120, 3, generator=torch.Generator().manual_seed(0))
    rows[5] = torch.nan
    labels = torch.arange(120) // per_class
    triplets = RandomHard(margin=0.2)(rows, labels, np.random.default_rng(0))
    assert (labels[triplets.negative] != labels[triplets.anchor]).all()


@pytest.mark.parametrize(("classes", "per_class"), [(20, 6), (10, 13), (6, 40)])
def test_the_hardest_positive_of_a_tight_class_is_right_in_float32(classes, per_class):
    """As after a good training, where most of a tile is close."""
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, 64, generator=rng, dtype=torch.float64)
    labels = torch.arange(classes).repeat_interleave(per_class)
    noise = 1e-4 * torch.randn(len(labels), 64, generator=rng, dtype=torch.float64) / 8
    rows = torch.nn.functional.normalize(centres[labels] + noise).float()
    triplets = BatchHard()(rows, labels)
    exact = torch.cdist(rows.double(), rows.double(), compute_mode="donot_use_mm_for_euclid_dist")
    exact[labels[:, None] != labels] = 0.0
    found = exact[triplets.anchor, triplets.positive]
    assert (found > 0.999 * exact.amax(1)[triplets.anchor]).all()


@pytest.mark.fault(92)
def test_no_copy_is_farther_where_classes_are_narrow_and_dimensions_many():
    """Where two ways to a distance differ most: classes far narrower than the batch."""
    rng = torch.Generator().manual_seed(0)
    for _ in range(10):
        centres = F.normalize(torch.randn(60, 128, generator=rng).abs())
        noise = F.normalize(torch.randn(240, 128, generator=rng))
        rows = F.normalize(centres.repeat_interleave(4, 0) + 0.05 * noise)
        labels = torch.arange(240) // 4
        rows, labels = torch.cat([rows, rows[1::4]]), torch.cat([labels, labels[1::4] + 1000])
        _, positive, negative = SemiHard()(rows, labels)
        assert not (rows[positive] == rows[negative]).all(1).any()
