"""Random numbers of images: a function of place, index and order, and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metricforge.data.image_rng import ImageDraws

MASK = 2**64 - 1


def mixed(bits: int) -> int:
    """splitmix64's finalizer on Python's whole numbers."""
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & MASK
    return bits ^ (bits >> 31)


def test_the_numbers_are_those_of_a_hashed_counter() -> None:
    golden = 0x9E3779B97F4A7C15
    seed = int(np.random.SeedSequence([2, 5, 7]).generate_state(1, np.uint64)[0])
    key = mixed(mixed(11 * golden & MASK) ^ seed)
    wanted = [(mixed((key + place * golden) & MASK) >> 40) / 2**24 for place in (1, 2, 3)]
    found = ImageDraws((5, 7), torch.tensor([3, 11])).uniform(3)[1]
    assert found.tolist() == pytest.approx(wanted, abs=0)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=20), st.integers(0, 2**31))
def test_an_image_draws_the_same_in_any_batch(indices: list[int], seed: int) -> None:
    def drawn(chosen: list[int]) -> list[torch.Tensor]:
        draws = ImageDraws((seed, 3), torch.tensor(chosen))
        return [draws.uniform(2, low=-1, high=4), draws.normal(3), torch.tensor(draws.seeds())]

    whole = drawn(indices)
    for row, index in enumerate(indices):
        for together, alone in zip(whole, drawn([index]), strict=True):
            assert torch.equal(together[row], alone[0])


def test_seed_epoch_index_and_call_all_matter() -> None:
    images = torch.arange(1_000)
    base = ImageDraws((0, 0), images)
    rows = [
        base.uniform(1),
        base.uniform(1),
        ImageDraws((1, 0), images).uniform(1),
        ImageDraws((0, 1), images).uniform(1),
        ImageDraws((0, 0, 0), images).uniform(1),
        ImageDraws((0, 0), images + 1_000).uniform(1),
    ]
    # 6,000 draws of 2^24 values: a dozen pairs may meet by chance, whole columns may not.
    assert len(torch.cat(rows).unique()) > 5_980


def test_uniform_numbers_fill_their_range_evenly() -> None:
    drawn = ImageDraws((0, 0), torch.arange(20_000)).uniform(5, low=2, high=6).double()
    assert 2 <= float(drawn.min()) < 2.001
    assert 5.999 < float(drawn.max()) < 6
    counts = torch.histc(drawn, 50, 2, 6)
    assert ((counts - 2_000).square() / 2_000).sum() < 90  # chi-squared, 49 degrees: p < 0.0003
    correlations = torch.corrcoef(torch.cat([drawn[:-1], drawn[1:]], dim=1).T)
    assert (correlations - torch.eye(10)).abs().max() < 0.03


def test_normal_numbers_are_normal() -> None:
    drawn = ImageDraws((0, 0), torch.arange(20_000)).normal(2, 2).double()
    assert drawn.shape == (20_000, 2, 2)
    flat = drawn.flatten(1)
    assert flat.mean(0).abs().max() < 0.03
    assert (flat.std(0) - 1).abs().max() < 0.03
    assert (flat.pow(4).mean(0) - 3).abs().max() < 0.3
    assert drawn.isfinite().all()


def test_seeds_are_62_bits_and_differ() -> None:
    seeds = ImageDraws((0, 0), torch.arange(1_000)).seeds()
    assert len(set(seeds)) == 1_000
    assert 2**60 < max(seeds) < 2**62


def test_no_images_draw_nothing() -> None:
    draws = ImageDraws((0, 0), torch.arange(0))
    assert draws.uniform(3).shape == (0, 3)
    assert draws.normal(2, 2).shape == (0, 2, 2)
    assert draws.seeds() == []
