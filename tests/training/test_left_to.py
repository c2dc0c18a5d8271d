"""A miner that leaves its choice to a loss: who is asked, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from metricforge_standard.losses.multi_similarity import MultiSimilarity as Loss
from metricforge_standard.miners.batch_hard import BatchHard
from metricforge_standard.miners.multi_similarity import MultiSimilarity as Miner

from metricforge.contracts import AllPairs, Pairs
from metricforge.errors import PluginError
from metricforge.runtime import Runtime
from metricforge.training.loop import TrainState, fit

CPU = Runtime(torch.device("cpu"))


def seen(make_setup, loss, **components):
    """The kinds of tuples that a loss is given in the steps of an epoch."""
    setup, kinds = make_setup(loss=loss, epochs=1, **components), set()
    scored = setup.loss

    class Watched(type(scored)):
        def counted(self, embeddings, labels, tuples):
            kinds.add(type(tuples))
            return super().counted(embeddings, labels, tuples)

    watching = Watched()
    vars(watching).update(vars(scored))
    list(fit(replace(setup, loss=watching), TrainState(), CPU))
    return kinds


@pytest.mark.parametrize(
    "sampler",
    [
        "multi-similarity",
        "schedule:0=multi-similarity",
        'xbm:sampler="schedule:0=multi-similarity"',
    ],
)
@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        ("multi-similarity:epsilon=0.1", AllPairs),
        ("multi-similarity:epsilon=0.2", Pairs),
        ("multi-similarity", Pairs),
        ("contrastive", Pairs),
    ],
)
def test_pairs_are_listed_but_for_the_loss_that_chooses_the_same(make_setup, sampler, loss, kind):
    assert seen(make_setup, loss, sampler=sampler) == {kind}


def test_a_miner_that_the_user_names_leaves_its_choice_too(make_setup):
    loss = "multi-similarity:epsilon=0.3"
    named = {"sampler": "all-pairs", "miner": "multi-similarity:epsilon=0.3"}
    assert seen(make_setup, loss, **named) == {AllPairs}


def test_the_pairs_that_the_loss_chooses_are_those_that_are_mined():
    rng = torch.Generator().manual_seed(0)
    rows, labels = torch.randn(40, 6, generator=rng, dtype=torch.float64), torch.arange(40) % 8
    miner, loss = Miner(epsilon=-0.3), Loss(epsilon=-0.3)
    mined = miner(rows, labels)
    assert 0 < len(mined.anchor) < 40 * 39
    tuples = miner.left_to(loss)(rows, labels, np.random.default_rng(0))
    assert int(loss.counted(rows, labels, tuples).active) == len(mined.anchor)


class Leaves(Miner):
    """Leaves its choice to what a test says."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def left_to(self, loss):
        return self.other(loss)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda loss: True, "must leave its choice to a miner of its kind, or to None"),
        (lambda loss: [], "must leave its choice to a miner of its kind, or to None"),
        (lambda loss: BatchHard(), "must leave its choice to a miner of its kind, or to None"),
        (lambda loss: loss.gone, "failed: AttributeError"),
    ],
)
def test_what_is_no_miner_of_its_kind_is_refused(make_setup, other, said):
    setup = make_setup(sampler="all-pairs", loss="contrastive", epochs=1)
    with pytest.raises(PluginError, match=f"Leaves.*{said}"):
        list(fit(replace(setup, miner=Leaves(other)), TrainState(), CPU))
