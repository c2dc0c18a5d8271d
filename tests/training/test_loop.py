"""The loop: what it yields, what it refuses, and how it stops when numbers go bad."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from metricforge_standard.losses.triplet import Triplet
from metricforge_standard.miners.batch_hard import BatchHard
from metricforge_standard.miners.whole_batch import WholeBatch
from torch import nn

from metricforge.contracts import Pairs, Triplets
from metricforge.errors import DivergedError, PluginError
from metricforge.runtime import Runtime, generator
from metricforge.training.loop import EpochRecord, StepRecord, TrainState, fit, once
from metricforge.training.setup import Validated

CPU = Runtime(torch.device("cpu"))


def parameters(setup):
    return [p.detach().clone() for p in setup.model.parameters()]


def unchanged(setup, before):
    return all(a.equal(b) for a, b in zip(parameters(setup), before, strict=True))


def run(setup):
    return list(fit(setup, TrainState(), CPU))


class Scripted:
    """A sampler that yields what it is told, with the miner it is told."""

    def __init__(self, *batches, miner=None):
        self.batches, self.miner = batches, miner or BatchHard()

    def epoch(self, rng):
        yield from self.batches


class Says:
    """A miner or a loss that returns what it is told."""

    def __init__(self, value, kind=Triplets):
        self.value, self.kind = value, kind

    def __call__(self, *given):
        return self.value(*given) if callable(self.value) else self.value


def test_records_tell_each_step_and_each_epoch(make_setup):
    setup = make_setup(epochs=2)
    per_epoch = len(list(setup.sampler.epoch(generator(0, 0))))
    records = run(setup)
    steps = [r for r in records if isinstance(r, StepRecord)]
    epochs = [r for r in records if isinstance(r, EpochRecord)]
    assert [type(r) for r in records] == ([StepRecord] * per_epoch + [EpochRecord]) * 2
    assert [r.step for r in steps] == list(range(1, 2 * per_epoch + 1))
    assert {r.steps_in_epoch for r in steps} == {per_epoch}
    assert [r.epoch for r in steps] == [1] * per_epoch + [2] * per_epoch
    assert [r.epoch for r in epochs] == [1, 2]
    assert steps[-1].spent == pytest.approx(1.0)
    # Each of the 48 images is an anchor once.
    assert sum(r.tuples for r in steps[:per_epoch]) == 48
    for record, part in zip(epochs, (steps[:per_epoch], steps[per_epoch:]), strict=True):
        assert record.loss == pytest.approx(sum(r.loss for r in part) / per_epoch)
        assert set(record.validation) == {"score"}


def test_training_changes_the_weights_and_lowers_the_loss(make_setup):
    setup = make_setup(epochs=8, loss="triplet:margin=0.5")
    before = parameters(setup)
    losses = [r.loss for r in run(setup) if isinstance(r, EpochRecord)]
    assert not unchanged(setup, before)
    assert losses[-1] < losses[0]


def test_the_learning_rate_follows_the_schedule(make_setup):
    setup = replace(make_setup(optimizer="adamw:lr=0.5", epochs=2), schedule=lambda spent: spent)
    steps = [r for r in run(setup) if isinstance(r, StepRecord)]
    expected = [0.5 * (i + 0.5) / len(steps) for i in range(len(steps))]
    assert [r.lr for r in steps] == pytest.approx(expected)


@pytest.mark.parametrize("budget", [1, 9, 10, 47, 48, 49, 100, 144])
def test_a_budget_of_images_ends_it_with_the_step_that_reaches_it(make_setup, budget):
    """Batches of nine or so, 48 images an epoch."""
    records = run(replace(make_setup(epochs=4), images_budget=budget))
    steps = [record for record in records if isinstance(record, StepRecord)]
    seen = [sum(step.images for step in steps[: count + 1]) for count in range(len(steps))]
    assert seen[-1] >= budget
    assert all(images < budget for images in seen[:-1])
    assert steps[-1].spent == 1
    assert [step.spent for step in steps] == [min(1, images / budget) for images in seen]
    middles = [
        (images - step.images / 2) / budget for images, step in zip(seen, steps, strict=True)
    ]
    expected = [0.01 * make_setup().schedule(min(1, middle)) for middle in middles]
    assert [step.lr for step in steps] == pytest.approx(expected)
    assert isinstance(records[-1], EpochRecord)


def test_a_budget_of_more_images_than_the_epochs_have_changes_nothing(make_setup):
    plain, budgeted = run(make_setup()), run(replace(make_setup(), images_budget=1_000_000))
    assert [r.loss for r in plain] == [r.loss for r in budgeted]


def test_a_budget_of_seconds_ends_it(make_setup):
    records = run(replace(make_setup(epochs=100_000), seconds_budget=0.5))
    steps = [record for record in records if isinstance(record, StepRecord)]
    assert sum(step.seconds for step in steps) >= 0.5 > sum(step.seconds for step in steps[:-1])
    spent = [step.spent for step in steps]
    assert spent == sorted(spent)
    assert 0 <= spent[0] < spent[-1] <= 1
    assert isinstance(records[-1], EpochRecord)


def test_the_best_epoch_is_that_of_the_best_score_and_of_equals_the_later(make_setup):
    scores = iter([0.1, 0.7, 0.7, 0.2])
    validate = lambda model: Validated({"first": next(scores), "other": 9})  # noqa: E731
    setup = replace(make_setup(epochs=4), validate=validate)
    state = TrainState()
    best = [r.best for r in fit(setup, state, CPU) if isinstance(r, EpochRecord)]
    assert best == [True, True, True, False]
    assert (state.best_epoch, state.best_score) == (3, 0.7)


def test_every_epoch_draws_its_own_batches_from_the_seed(make_setup):
    seen = []

    class Watched:
        def __init__(self, sampler):
            self.sampler, self.miner = sampler, sampler.miner

        def epoch(self, rng):
            for batch in self.sampler.epoch(rng):
                seen.append(batch.tolist())
                yield batch

    setup = make_setup(epochs=2, seed=4)
    run(replace(setup, sampler=Watched(setup.sampler)))
    expected = [b.tolist() for e in (0, 1) for b in setup.sampler.epoch(generator(4, e))]
    assert seen == expected
    assert expected[: len(expected) // 2] != expected[len(expected) // 2 :]


def test_global_random_state_before_the_run_does_not_matter(make_setup):
    found = []
    for seed in (1, 2):
        setup = make_setup(epochs=1)
        torch.manual_seed(seed)
        run(setup)
        found.append(parameters(setup))
    assert all(a.equal(b) for a, b in zip(*found, strict=True))


def test_the_miner_sees_embeddings_without_a_graph_and_the_right_labels(make_setup):
    seen = []

    def look(embeddings, labels):
        seen.append((embeddings.requires_grad, torch.is_grad_enabled(), labels.tolist()))
        return BatchHard()(embeddings, labels)

    batch = torch.tensor([0, 1, 6, 7])
    setup = make_setup(sampler=Scripted(batch), miner=Says(look), epochs=1)
    run(setup)
    assert seen == [(False, False, setup.labels[batch].tolist())]


def test_the_sampler_is_refreshed_between_epochs_with_the_train_set(make_setup):
    seen = []
    setup = make_setup(epochs=3)
    setup.sampler.refresh = seen.append
    run(setup)
    assert [tuple(embeddings.shape) for embeddings in seen] == [(48, 4)] * 2
    assert not seen[0].equal(seen[1])


@pytest.mark.fault(18)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_step(make_setup, bad):
    """The third batch is the bad one: the weights are those after the second."""
    calls = []

    def spoil(embeddings, labels, tuples):
        calls.append(1)
        good = Triplet()(embeddings, labels, tuples)
        return good if len(calls) < 3 else good * bad

    batches = [torch.tensor([i, i + 6, i + 1, i + 7]) for i in range(4)]
    setup = make_setup(sampler=Scripted(*batches), loss=Says(spoil), optimizer="nadam:lr=0.01")
    after = []
    records = (after.append(parameters(setup)) for _ in fit(setup, TrainState(), CPU))
    with pytest.raises(DivergedError) as caught:
        list(records)
    assert caught.value.exit_code == 7
    assert unchanged(setup, after[-1])
    assert len(after) == 2
    assert len(calls) == 3
    # The images of the dataset, not the places in the train set, which begins at 5.
    assert "images 7, 13, 8, 14;" in str(caught.value)
    assert "Try a lower learning rate, the option lr of the optimizer" in str(caught.value)


def test_an_embedding_that_is_not_finite_stops_before_the_step(make_setup):
    """Even where the loss does not show it."""
    setup = make_setup(loss=Says(lambda e, labels, tuples: e.nan_to_num().sum()))
    with torch.no_grad():
        setup.model.head.project.bias[0] = math.nan
    before = [p.nan_to_num() for p in parameters(setup)]
    with pytest.raises(DivergedError, match="no step was taken"):
        run(setup)
    assert all(a.nan_to_num().equal(b) for a, b in zip(parameters(setup), before, strict=True))


def test_many_images_are_cut_short_in_the_message(make_setup):
    setup = make_setup(
        sampler=Scripted(torch.arange(20)), loss=Says(lambda e, labels, tuples: e.sum() * math.nan)
    )
    with pytest.raises(DivergedError, match=r"images 5, 6, .*, 20, \.\.\.;"):
        run(setup)


@pytest.mark.parametrize(
    "batch",
    [[0, 1], torch.tensor([0.0]), torch.tensor([0, 48]), torch.tensor([-1, 0])],
    ids=str,
)
def test_a_sampler_that_breaks_its_word_is_named_before_the_first_step(make_setup, batch):
    setup = make_setup(sampler=Scripted(torch.arange(12), batch))
    before = parameters(setup)
    with pytest.raises(PluginError, match="test_loop:Scripted must yield"):
        run(setup)
    assert unchanged(setup, before)


def test_a_sampler_that_yields_nothing_is_named(make_setup):
    with pytest.raises(PluginError, match="test_loop:Scripted must yield"):
        run(make_setup(sampler=Scripted()))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, Triplets),
        (Triplets(torch.tensor([0]), torch.tensor([1]), torch.tensor([99])), Triplets),
        (Triplets(torch.tensor([0]), torch.tensor([1]), torch.tensor([2])), Pairs),
        (Triplets(torch.tensor([0]), torch.tensor([1]), torch.tensor([2])), None),
    ],
    ids=str,
)
def test_a_miner_that_breaks_its_word_is_named_before_the_step(make_setup, value, kind):
    setup = make_setup(miner=Says(value, kind))
    before = parameters(setup)
    with pytest.raises(PluginError, match="test_loop:Says must return"):
        run(setup)
    assert unchanged(setup, before)


@pytest.mark.parametrize(
    "value",
    [0.5, torch.tensor(0.5), lambda e, labels, tuples: e.detach().sum(), lambda e, *_: e.sum(1)],
    ids=["float", "no graph", "detached", "vector"],
)
def test_a_loss_that_breaks_its_word_is_named_before_the_step(make_setup, value):
    setup = make_setup(loss=Says(value))
    before = parameters(setup)
    with pytest.raises(PluginError, match="test_loop:Says must return a scalar tensor"):
        run(setup)
    assert unchanged(setup, before)


def test_batches_without_tuples_are_counted(make_setup):
    labels_apart = torch.tensor([0, 1, 2])
    setup = make_setup(sampler=Scripted(torch.arange(12), labels_apart, labels_apart), epochs=1)
    *steps, epoch = run(setup)
    assert [r.tuples for r in steps][1:] == [0, 0]
    assert steps[1].loss == 0.0
    assert epoch.empty_batches == 2


def test_a_whole_batch_has_no_count_of_tuples(make_setup):
    setup = make_setup(
        sampler=Scripted(torch.arange(12), miner=WholeBatch()), loss="pml.SupConLoss"
    )
    records = run(replace(setup, epochs=1))
    assert records[0].tuples is None
    assert records[-1].empty_batches == 0


def test_a_loss_that_learns_is_trained(make_setup):
    setup = make_setup(
        sampler="balanced:classes=3,per_class=3", loss="pml.ProxyAnchorLoss", epochs=1
    )
    assert isinstance(setup.loss, nn.Module)
    (proxies,) = setup.loss.parameters()
    before = proxies.detach().clone()
    run(setup)
    assert not proxies.detach().equal(before)


def test_a_replaced_miner_never_meets_an_image_twice(make_setup):
    assert once(torch.tensor([4, 2, 4, 7, 2])).tolist() == [4, 2, 7]
    batch = torch.tensor([3, 1, 2])
    assert once(batch) is batch
