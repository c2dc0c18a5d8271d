"""Several batches of the sampler in one step: their gradients averaged, each compared by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from metricforge_standard.miners.whole_batch import WholeBatch

from metricforge.runtime import Runtime, generator
from metricforge.training.loop import TrainState, fit
from metricforge.training.records import StepRecord
from metricforge.training.setup import Validated
from tests.conftest import small_task
from tests.training.ranked import Plain

CPU = Runtime(torch.device("cpu"))


class Split:
    """An epoch of two batches of 12, or of the 24 images at once."""

    def __init__(self, *sizes: int) -> None:
        self.sizes, self.miner = sizes, WholeBatch()

    def epoch(self, rng):
        yield from torch.arange(sum(self.sizes)).split(list(self.sizes))


def stepped(sampler, accumulate, loss):
    setup = small_task(
        sampler=sampler, loss=loss, epochs=1, optimizer="sgd:lr=0.1", network=Plain,
        dtype=torch.float64,
    )  # fmt: skip
    setup = replace(setup, accumulate=accumulate)
    steps = [r for r in fit(setup, TrainState(), CPU) if isinstance(r, StepRecord)]
    return steps, [p.detach().clone() for p in setup.model.parameters()]


@pytest.mark.parametrize("sizes", [(12, 12), (20, 4), (8, 8, 8)])
def test_a_loss_of_proxies_has_the_gradient_of_one_large_batch(sizes):
    loss = "pml.NormalizedSoftmaxLoss"
    parts, weights = stepped(Split(*sizes), len(sizes), loss)
    whole, expected = stepped(Split(24), 1, loss)
    assert len(parts) == len(whole) == 1
    assert (parts[0].images, parts[0].loss) == (24, pytest.approx(whole[0].loss))
    for one, other in zip(weights, expected, strict=True):
        assert one.allclose(other, rtol=1e-9)


def test_what_is_left_over_makes_a_step_of_its_own(make_setup):
    setup = replace(make_setup(epochs=1), accumulate=4)
    batches = len(list(setup.sampler.epoch(generator(0, 0))))
    steps = [r for r in fit(setup, TrainState(), CPU) if isinstance(r, StepRecord)]
    assert {r.steps_in_epoch for r in steps} == {len(steps)} == {-(-batches // 4)}
    assert sum(r.images for r in steps) == 48
    assert steps[-1].spent == pytest.approx(1)


def test_batch_norm_moves_once_for_each_chunk_though_it_is_shown_twice(make_setup):
    setup = make_setup(epochs=1)
    norm = setup.model.backbone.norm
    seen, forward = [], norm.forward

    def noted(images):
        if torch.is_grad_enabled():
            seen.append(images.detach().mean((0, 2, 3)))
        return forward(images)

    norm.forward = noted
    next(iter(fit(setup, TrainState(), replace(CPU, chunk=3))))
    expected = torch.zeros(8)
    for mean in seen:
        expected = expected.lerp(mean, norm.momentum)
    assert int(norm.num_batches_tracked) == len(seen) == 3
    assert norm.running_mean.allclose(expected)


@pytest.mark.parametrize(
    ("scores", "patience", "ended", "best", "better"),
    [
        ([0.1, 0.5, 0.4, 0.3, 0.2, 0.9], 3, 5, 2, 2),
        # An equal score is no better, but of equals the later epoch is taken.
        ([0.1, 1.0, 1.0, 1.0, 0.9, 1.0], 2, 4, 4, 2),
    ],
)
def test_patience_ends_a_training_that_gets_no_better(
    scores, patience, ended, best, better, make_setup
):
    left = iter(scores)
    validate = lambda _: Validated({"score": next(left)})  # noqa: E731
    setup = replace(make_setup(epochs=6), validate=validate, patience=patience)
    state = TrainState()
    list(fit(setup, state, CPU))
    assert (state.epoch, state.best_epoch, state.better_epoch) == (ended, best, better)
    assert setup.done(state)


def test_a_checkpoint_that_has_no_better_epoch_goes_by_the_best(make_setup):
    setup = replace(make_setup(epochs=6), patience=2)
    assert not setup.tired(TrainState(epoch=4, best_epoch=3))
    assert setup.tired(TrainState(epoch=5, best_epoch=3))
