"""Dataset-wide hardness: who is confused meets, suspects don't steer, and epochs stay whole."""

from __future__ import annotations

from collections.abc import Callable

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metricforge_standard.samplers import _confusion
from metricforge_standard.samplers._confusion import NOBODY, Confusion
from metricforge_standard.samplers._deal import NONE, deal
from metricforge_standard.samplers._gathering import gathered
from metricforge_standard.samplers.global_hard import GlobalHard
from torch import Tensor

from metricforge.errors import UsageError
from metricforge.testing import check_sampler
from tests.standard.trainsets import epoch, labels_of, quick, seeds, sizes

CLASSES, EACH = 40, 16
LABELS = torch.arange(CLASSES).repeat_interleave(EACH)


def embedded(centre_of: Callable[[Tensor], Tensor], noise: float = 0.05) -> Tensor:
    """Unit embeddings [N, 48] of LABELS about centres that are all orthogonal to each other."""
    rng = torch.Generator().manual_seed(0)
    rows = torch.eye(48)[centre_of(LABELS)]
    rows = rows + noise * torch.randn(rows.shape, generator=rng)
    return torch.nn.functional.normalize(rows)


def meetings(sampler: GlobalHard, epochs: int = 5) -> float:
    """Of the classes in a batch, the share whose twin (0 and 1, 2 and 3, ...) is there too."""
    found = [
        (LABELS[batch].unique()[:, None] ^ 1 == LABELS[batch].unique()).any(1)
        for seed in range(epochs)
        for batch in epoch(sampler, seed)
    ]
    return float(torch.cat(found).double().mean())


def test_confused_classes_meet_far_more_often_than_by_chance_and_stop_when_they_are_apart():
    sampler = GlobalHard(LABELS, classes=8, per_class=4, hard=0.5)
    by_chance = 7 / 39
    assert meetings(sampler) == pytest.approx(by_chance, abs=0.08)
    sampler.refresh(embedded(lambda labels: labels // 2))
    confused = meetings(sampler)
    assert confused > 5 * by_chance, f"only {confused / by_chance:.1f} times as often"
    sampler.refresh(embedded(lambda labels: labels))
    assert meetings(sampler) == pytest.approx(by_chance, abs=0.08)


def test_the_share_of_what_is_hard_is_as_asked():
    shares = []
    for hard in (0.0, 0.3, 1.0):
        sampler = GlobalHard(LABELS, classes=8, per_class=4, hard=hard)
        sampler.refresh(embedded(lambda labels: labels // 8))
        company = [
            (LABELS[batch][:, None] // 8 == LABELS[batch] // 8).double().mean()
            for batch in epoch(sampler)
        ]
        shares.append(float(torch.stack(company).mean()))
    # Of 8 classes a batch, one is its own and 7 * 7 / 39 are near it by chance: 0.28.
    assert shares[0] < 0.33 < shares[1] < 0.45
    assert shares[2] > 0.95


def test_images_meet_and_not_only_their_classes():
    # Within each class, the first half lies near one other class and the second near another.
    def centre_of(labels: Tensor) -> Tensor:
        late = torch.arange(len(labels)) % EACH >= EACH // 2
        return torch.where(late, (labels + 1) // 2 % (CLASSES // 2), labels // 2)

    sampler = GlobalHard(LABELS, classes=8, per_class=2, hard=0.5)
    rows = embedded(centre_of)
    sampler.refresh(rows)
    near = near_by_chance = 0.0
    for seed in range(5):
        for batch in epoch(sampler, seed):
            other = LABELS[batch][:, None] != LABELS[batch]
            close = (rows[batch] @ rows[batch].T > 0.5) & other
            near += float(close.sum()) / float(other.sum())
            drawn = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(seed))
            drawn = drawn[: len(batch)]
            other = LABELS[drawn][:, None] != LABELS[drawn]
            close = (rows[drawn] @ rows[drawn].T > 0.5) & other
            near_by_chance += float(close.sum()) / float(other.sum())
    assert near > 3 * near_by_chance


def test_planted_mistakes_are_found_and_do_not_steer():
    rows = embedded(lambda labels: labels)
    # Images 3 and 100 carry the label of a class that they lie far from; 40 is 500's double.
    rows[3], rows[100] = rows[7 * EACH + 5], rows[9 * EACH + 2]
    rows[3] += 0.01
    rows[100] -= 0.01
    rows[40] = rows[500]
    sampler = GlobalHard(LABELS, classes=8, per_class=4)
    sampler.refresh(rows)
    suspected = sampler.suspected
    assert set(suspected.mislabelled.tolist()) == {3, 40, 100}
    assert set(suspected.duplicated.tolist()) == {40, 500}
    found = Confusion.of(rows.numpy(), LABELS.numpy(), 10).neighbours
    for image in suspected.images:
        assert (found[image] == NOBODY).all()
        assert not (found == image).any()
    assert set(torch.cat(epoch(sampler)).tolist()) == set(range(len(LABELS)))


def test_a_class_that_lies_in_another_is_confused_and_not_mislabelled():
    labels = torch.tensor([0] * 100 + [1] * 12 + [2] * 100)
    rng = torch.Generator().manual_seed(1)
    rows = torch.eye(8)[torch.tensor([0] * 112 + [2] * 100)]
    rows = rows + 0.05 * torch.randn(212, 8, generator=rng)
    found = Confusion.of(rows.numpy(), labels.numpy(), 10)
    assert len(found.suspects.mislabelled) == 0
    assert (found.neighbours[100:112] != NOBODY).all()


def naive_neighbours(rows: np.ndarray, labels: np.ndarray, image: int, k: int) -> list[int]:
    """The k nearest of other classes, one by one."""
    apart = np.square(rows - rows[image]).sum(1)
    return [int(i) for i in np.argsort(apart, kind="stable") if labels[i] != labels[image]][:k]


@pytest.mark.parametrize("exact", [True, False])
def test_neighbours_are_the_nearest_of_other_classes(exact: bool, monkeypatch):
    rows = torch.randn(600, 6, generator=torch.Generator().manual_seed(2)).numpy()
    labels = np.arange(600) % 60
    if not exact:
        monkeypatch.setattr(_confusion, "EXACT", 100)
        monkeypatch.setattr(_confusion, "BLOCK", 64)
    found = Confusion.of(rows, labels, 5)
    hits = [
        len(set(found.neighbours[i].tolist()) & set(naive_neighbours(rows, labels, i, 5)))
        for i in range(600)
    ]
    if exact:
        # faiss's product cancels, so of two that are as far, either may come first.
        assert np.mean(hits) > 4.99
        assert found.neighbours[0].tolist() == naive_neighbours(rows, labels, 0, 5)
    else:
        assert np.mean(hits) > 4.5
    assert (Confusion.of(rows, labels, 5).neighbours == found.neighbours).all()


def test_a_search_visits_few_rows_even_where_all_lie_in_one_place(monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.normal(scale=[[1e-6]] * 2000 + [[1.0]] * 200, size=(2200, 8)).astype(np.float32)
    monkeypatch.setattr(_confusion, "EXACT", 100)
    monkeypatch.setattr(_confusion, "MOST_VISITED", 60)
    search = _confusion._Search(rows, 5)
    visited = faiss.cvar.indexIVF_stats
    visited.reset()
    found = search(0, 200)
    assert visited.ndis <= 200 * 60
    assert (found != NOBODY).all()


@pytest.mark.parametrize("broken", ["one", "all", "infinite", "same", "nearly the same"])
def test_broken_embeddings_fall_back_to_chance(broken: str):
    rows = embedded(lambda labels: labels // 2)
    if broken == "one":
        rows[5] = torch.nan
    elif broken == "all":
        rows[:] = torch.nan
    elif broken == "infinite":
        rows[7, 3] = torch.inf
    else:
        rows[:] = rows[0].clone()
        rows += 1e-7 * (broken == "nearly the same") * torch.randn(rows.shape)
    sampler = GlobalHard(LABELS, classes=8, per_class=4)
    sampler.refresh(rows)
    assert set(torch.cat(epoch(sampler)).tolist()) == set(range(len(LABELS)))
    if broken in ("one", "infinite"):
        assert meetings(sampler) > 0.5, "the others still say who is confused"
    else:
        assert meetings(sampler) < 0.3


@quick
@given(sizes=sizes, classes=st.integers(2, 6), per_class=st.integers(2, 5), seed=seeds)
def test_epochs_of_any_train_set_stay_whole(sizes, classes, per_class, seed):
    labels = labels_of(sizes, seed)
    classes = min(classes, len(sizes))
    sampler = GlobalHard(labels, classes=classes, per_class=per_class, hard=1.0, neighbours=3)
    rows = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed % 1000))
    rows[:: max(2, seed % 7)] = rows[0].clone()  # many of them in one place
    sampler.refresh(rows)
    batches = epoch(sampler, seed)
    assert torch.cat(batches).sort().values.equal(torch.arange(len(labels)))
    for batch in batches:
        assert len(batch.unique()) == len(batch)


@quick
@given(
    counts=st.lists(st.one_of(st.integers(1, 9), st.just(40)), min_size=2, max_size=12),
    places=st.integers(2, 9),
    share=st.floats(0, 1),
    seed=seeds,
)
def test_gathering_keeps_a_deal_valid(counts, places, share, seed):
    rng = np.random.default_rng(seed)
    count = np.array(counts)
    of_class = np.repeat(np.arange(len(count)), count)
    dealt = deal(np.cumsum(count) - count, count, places, rng)
    near = rng.integers(len(of_class), size=(len(of_class), 6))
    after = gathered(dealt, of_class, lambda chunk: near[chunk].tolist(), share, rng)
    assert sorted(after.ravel()) == sorted(dealt.ravel())
    assert sorted((after != NONE).sum(1)) == sorted((dealt != NONE).sum(1))
    for batch in after:
        held = np.bincount(of_class[batch[batch != NONE]], minlength=len(count))
        assert (held <= -(-count // len(dealt))).all()


def test_an_epoch_is_a_function_of_its_generator_and_the_embeddings():
    rows = embedded(lambda labels: labels // 2)
    first, second = GlobalHard(LABELS, classes=8), GlobalHard(LABELS, classes=8)
    first.refresh(embedded(lambda labels: labels // 4))
    for sampler in (first, second):
        sampler.refresh(rows)
    assert torch.cat(epoch(first, 3)).equal(torch.cat(epoch(second, 3)))
    second.refresh(embedded(lambda labels: labels // 4))
    assert not torch.cat(epoch(first, 3)).equal(torch.cat(epoch(second, 3)))


def test_what_the_guard_can_not_judge_is_said():
    assert GlobalHard(LABELS).notes == GlobalHard(LABELS, neighbours=4).notes == ()
    assert GlobalHard(LABELS, neighbours=3).notes == (
        "neighbours=3 is too few to tell mislabelled images; set neighbours=4 or more.",
    )
    labels = labels_of([4, 4, 4, 5])
    assert GlobalHard(labels, per_class=2).notes == (
        "3 classes have fewer than 5 images: too few to tell which of them are mislabelled.",
    )


@pytest.mark.parametrize("size", [4, 5])
def test_four_others_of_its_class_judge_an_image(size):
    """What the note says: with 4 neighbours and 5 images a class a planted mistake is found."""
    labels = torch.arange(8).repeat_interleave(size)
    rng = torch.Generator().manual_seed(0)
    rows = torch.eye(8)[labels] + 0.01 * torch.randn(8 * size, 8, generator=rng)
    rows[0] = rows[5 * size : 6 * size].mean(0)
    for neighbours, found in ((4, size == 5), (3, False)):
        sampler = GlobalHard(labels, neighbours=neighbours)
        sampler.refresh(rows)
        assert (0 in sampler.suspected.mislabelled) == found


@pytest.mark.parametrize("options", [{"hard": 1.1}, {"hard": -0.1}, {"neighbours": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UsageError, match="global-hard needs hard between 0 and 1"):
        GlobalHard(LABELS, **options)


def test_the_kit_finds_nothing():
    check_sampler(GlobalHard, classes=6, per_class=3, hard=1.0, neighbours=3)
