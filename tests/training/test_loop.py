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
from metricforge.training.loop import EpochRecord, Position, StepRecord, fit, once
from metricforge.training.task import Validated

CPU = Runtime(torch.device("cpu"))


def parameters(task):
    return [p.detach().clone() for p in task.model.parameters()]


def unchanged(task, before):
    return all(a.equal(b) for a, b in zip(parameters(task), before, strict=True))


def run(task):
    return list(fit(task, Position(), CPU))


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


def test_records_tell_each_step_and_each_epoch(make_task):
    task = make_task(epochs=2)
    per_epoch = len(list(task.sampler.epoch(generator(0, 0))))
    records = run(task)
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


def test_training_changes_the_weights_and_lowers_the_loss(make_task):
    task = make_task(epochs=8, loss="triplet:margin=0.5")
    before = parameters(task)
    losses = [r.loss for r in run(task) if isinstance(r, EpochRecord)]
    assert not unchanged(task, before)
    assert losses[-1] < losses[0]


def test_the_learning_rate_follows_the_schedule(make_task):
    task = replace(make_task(optimizer="adamw:lr=0.5", epochs=2), schedule=lambda spent: spent)
    steps = [r for r in run(task) if isinstance(r, StepRecord)]
    expected = [0.5 * (i + 0.5) / len(steps) for i in range(len(steps))]
    assert [r.lr for r in steps] == pytest.approx(expected)


@pytest.mark.parametrize("budget", [1, 9, 10, 47, 48, 49, 100, 144])
def test_a_budget_of_images_ends_it_with_the_step_that_reaches_it(make_task, budget):
    """Batches of nine or so, 48 images an epoch."""
    records = run(replace(make_task(epochs=4), images_budget=budget))
    steps = [record for record in records if isinstance(record, StepRecord)]
    seen = [sum(step.images for step in steps[: count + 1]) for count in range(len(steps))]
    assert seen[-1] >= budget
    assert all(images < budget for images in seen[:-1])
    assert steps[-1].spent == 1
    assert [step.spent for step in steps] == [min(1, images / budget) for images in seen]
    middles = [
        (images - step.images / 2) / budget for images, step in zip(seen, steps, strict=True)
    ]
    expected = [0.01 * make_task().schedule(min(1, middle)) for middle in middles]
    assert [step.lr for step in steps] == pytest.approx(expected)
    assert isinstance(records[-1], EpochRecord)


def test_a_budget_of_more_images_than_the_epochs_have_changes_nothing(make_task):
    plain, budgeted = run(make_task()), run(replace(make_task(), images_budget=1_000_000))
    assert [r.loss for r in plain] == [r.loss for r in budgeted]


def test_a_budget_of_seconds_ends_it(make_task):
    records = run(replace(make_task(epochs=100_000), seconds_budget=0.5))
    steps = [record for record in records if isinstance(record, StepRecord)]
    assert sum(step.seconds for step in steps) >= 0.5 > sum(step.seconds for step in steps[:-1])
    spent = [step.spent for step in steps]
    assert spent == sorted(spent)
    assert 0 <= spent[0] < spent[-1] <= 1
    assert isinstance(records[-1], EpochRecord)


def test_the_best_epoch_is_that_of_the_best_score_and_of_equals_the_later(make_task):
    scores = iter([0.1, 0.7, 0.7, 0.2])
    validate = lambda model: Validated({"first": next(scores), "other": 9})  # noqa: E731
    task = replace(make_task(epochs=4), validate=validate)
    position = Position()
    best = [r.best for r in fit(task, position, CPU) if isinstance(r, EpochRecord)]
    assert best == [True, True, True, False]
    assert (position.best_epoch, position.best_score) == (3, 0.7)


def test_every_epoch_draws_its_own_batches_from_the_seed(make_task):
    seen = []

    class Watched:
        def __init__(self, sampler):
            self.sampler, self.miner = sampler, sampler.miner

        def epoch(self, rng):
            for batch in self.sampler.epoch(rng):
                seen.append(batch.tolist())
                yield batch

    task = make_task(epochs=2, seed=4)
    run(replace(task, sampler=Watched(task.sampler)))
    expected = [b.tolist() for e in (0, 1) for b in task.sampler.epoch(generator(4, e))]
    assert seen == expected
    assert expected[: len(expected) // 2] != expected[len(expected) // 2 :]


def test_global_random_state_before_the_run_does_not_matter(make_task):
    found = []
    for seed in (1, 2):
        task = make_task(epochs=1)
        torch.manual_seed(seed)
        run(task)
        found.append(parameters(task))
    assert all(a.equal(b) for a, b in zip(*found, strict=True))


def test_the_miner_sees_embeddings_without_a_graph_and_the_right_labels(make_task):
    seen = []

    def look(embeddings, labels):
        seen.append((embeddings.requires_grad, torch.is_grad_enabled(), labels.tolist()))
        return BatchHard()(embeddings, labels)

    batch = torch.tensor([0, 1, 6, 7])
    task = make_task(sampler=Scripted(batch), miner=Says(look), epochs=1)
    run(task)
    assert seen == [(False, False, task.labels[batch].tolist())]


def test_the_sampler_is_refreshed_between_epochs_with_the_train_set(make_task):
    seen = []
    task = make_task(epochs=3)
    task.sampler.refresh = seen.append
    run(task)
    assert [tuple(embeddings.shape) for embeddings in seen] == [(48, 4)] * 2
    assert not seen[0].equal(seen[1])


@pytest.mark.fault(18)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_step(make_task, bad):
    """The third batch is the bad one: the weights are those after the second."""
    calls = []

    def spoil(embeddings, labels, tuples):
        calls.append(1)
        good = Triplet()(embeddings, labels, tuples)
        return good if len(calls) < 3 else good * bad

    batches = [torch.tensor([i, i + 6, i + 1, i + 7]) for i in range(4)]
    task = make_task(sampler=Scripted(*batches), loss=Says(spoil), optimizer="nadam:lr=0.01")
    after = []
    records = (after.append(parameters(task)) for _ in fit(task, Position(), CPU))
    with pytest.raises(DivergedError) as caught:
        list(records)
    assert caught.value.exit_code == 7
    assert unchanged(task, after[-1])
    assert len(after) == 2
    assert len(calls) == 3
    # The images of the dataset, not the places in the train set, which begins at 5.
    assert "images 7, 13, 8, 14;" in str(caught.value)
    assert "a lower learning rate (--optimizer nadam:lr=" in str(caught.value)


def test_an_embedding_that_is_not_finite_stops_before_the_step(make_task):
    """Even where the loss does not show it."""
    task = make_task(loss=Says(lambda e, labels, tuples: e.nan_to_num().sum()))
    with torch.no_grad():
        task.model.head.project.bias[0] = math.nan
    before = [p.nan_to_num() for p in parameters(task)]
    with pytest.raises(DivergedError, match="no step was taken"):
        run(task)
    assert all(a.nan_to_num().equal(b) for a, b in zip(parameters(task), before, strict=True))


def test_many_images_are_cut_short_in_the_message(make_task):
    task = make_task(
        sampler=Scripted(torch.arange(20)), loss=Says(lambda e, labels, tuples: e.sum() * math.nan)
    )
    with pytest.raises(DivergedError, match=r"images 5, 6, .*, 20, \.\.\.;"):
        run(task)


@pytest.mark.parametrize(
    "batch",
    [[0, 1], torch.tensor([0.0]), torch.tensor([0, 48]), torch.tensor([-1, 0])],
    ids=str,
)
def test_a_sampler_that_breaks_its_word_is_named_before_the_first_step(make_task, batch):
    task = make_task(sampler=Scripted(torch.arange(12), batch))
    before = parameters(task)
    with pytest.raises(PluginError, match="test_loop:Scripted must yield"):
        run(task)
    assert unchanged(task, before)


def test_a_sampler_that_yields_nothing_is_named(make_task):
    with pytest.raises(PluginError, match="test_loop:Scripted must yield"):
        run(make_task(sampler=Scripted()))


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
def test_a_miner_that_breaks_its_word_is_named_before_the_step(make_task, value, kind):
    task = make_task(miner=Says(value, kind))
    before = parameters(task)
    with pytest.raises(PluginError, match="test_loop:Says must return"):
        run(task)
    assert unchanged(task, before)


@pytest.mark.parametrize(
    "value",
    [0.5, torch.tensor(0.5), lambda e, labels, tuples: e.detach().sum(), lambda e, *_: e.sum(1)],
    ids=["float", "no graph", "detached", "vector"],
)
def test_a_loss_that_breaks_its_word_is_named_before_the_step(make_task, value):
    task = make_task(loss=Says(value))
    before = parameters(task)
    with pytest.raises(PluginError, match="test_loop:Says must return a scalar tensor"):
        run(task)
    assert unchanged(task, before)


def test_batches_without_tuples_are_counted(make_task):
    labels_apart = torch.tensor([0, 1, 2])
    task = make_task(sampler=Scripted(torch.arange(12), labels_apart, labels_apart), epochs=1)
    *steps, epoch = run(task)
    assert [r.tuples for r in steps][1:] == [0, 0]
    assert steps[1].loss == 0.0
    assert epoch.empty_batches == 2


def test_a_whole_batch_has_no_count_of_tuples(make_task):
    task = make_task(sampler=Scripted(torch.arange(12), miner=WholeBatch()), loss="pml.SupConLoss")
    records = run(replace(task, epochs=1))
    assert records[0].tuples is None
    assert records[-1].empty_batches == 0


def test_a_loss_that_learns_is_trained(make_task):
    task = make_task(sampler="balanced:classes=3,per_class=3", loss="pml.ProxyAnchorLoss", epochs=1)
    assert isinstance(task.loss, nn.Module)
    (proxies,) = task.loss.parameters()
    before = proxies.detach().clone()
    run(task)
    assert not proxies.detach().equal(before)


def test_a_replaced_miner_never_meets_an_image_twice(make_task):
    assert once(torch.tensor([4, 2, 4, 7, 2])).tolist() == [4, 2, 7]
    batch = torch.tensor([3, 1, 2])
    assert once(batch) is batch
