"""A sampler that remembers: what miner and loss then see, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from metricforge_standard.losses.triplet import Triplet

from metricforge.contracts import AllPairs, AllTriplets, Pairs, Triplets
from metricforge.errors import PluginError
from metricforge.runtime import Runtime
from metricforge.training.loop import StepRecord, TrainState, fit

CPU = Runtime(torch.device("cpu"))
BATCHES = [torch.arange(start, start + 12) for start in (0, 12, 24, 36)]


class Remembers:
    """Fixed batches, compared with the batch before."""

    def __init__(self, miner, memory=None):
        self.miner, self.given, self.memory = miner, [], memory

    def epoch(self, rng):
        yield from BATCHES

    def remember(self, embeddings, labels, images):
        self.given.append((embeddings.clone(), labels.clone(), images.clone()))
        assert not embeddings.requires_grad
        assert not torch.is_grad_enabled()
        if self.memory is not None:
            return self.memory(embeddings, labels)
        if len(self.given) == 1:
            return embeddings[:0], labels[:0]
        rows, classes, _ = self.given[-2]
        return rows, classes


class Watched:
    """A miner and a loss of any kind: they note what they see."""

    def __init__(self, kind, tuples):
        self.kind, self.tuples, self.mined, self.scored = kind, tuples, [], []

    def __call__(self, embeddings, labels):
        assert not embeddings.requires_grad
        self.mined.append((embeddings.clone(), labels.clone()))
        return self.tuples(labels)

    def loss(self, embeddings, labels, tuples):
        embeddings.retain_grad()
        self.scored.append((embeddings, labels, tuples))
        return embeddings.square().sum() * 0 + embeddings[:, 0].sum()


def trained(make_setup, kind, tuples, memory=None, epochs=1):
    watched = Watched(kind, tuples)
    sampler = Remembers(watched, memory)
    setup = replace(make_setup(sampler=sampler, epochs=epochs), loss=watched.loss)
    records = [r for r in fit(setup, TrainState(), CPU) if isinstance(r, StepRecord)]
    return setup, sampler, watched, records


KINDS = {
    "pairs": (Pairs, lambda labels: AllPairs().listed(labels)),
    "triplets": (Triplets, lambda labels: AllTriplets().listed(labels)),
    "all pairs": (Pairs, lambda labels: AllPairs()),
    "all triplets": (Triplets, lambda labels: AllTriplets()),
    "the batch": (None, lambda labels: None),
}


@pytest.mark.parametrize(("kind", "tuples"), KINDS.values(), ids=KINDS)
def test_miner_and_loss_see_the_batch_and_then_the_memory(make_setup, kind, tuples):
    setup, sampler, watched, _ = trained(make_setup, kind, tuples, epochs=2)
    assert len(watched.mined) == len(watched.scored) == len(sampler.given) == 8
    for step in range(8):
        rows, classes, images = sampler.given[step]
        assert images.equal(BATCHES[step % 4])
        assert classes.equal(setup.labels[images])
        before, of_before, _ = sampler.given[step - 1] if step else (rows[:0], classes[:0], None)
        compared, labels = torch.cat([rows, before]), torch.cat([classes, of_before])
        mined, scored = watched.mined[step], watched.scored[step]
        assert mined[0].equal(compared)
        assert scored[0].equal(compared)
        assert mined[1].equal(labels)
        assert scored[1].equal(labels)
    assert len(watched.mined[0][0]) == 12
    assert len(watched.mined[1][0]) == 24


@pytest.mark.parametrize(("kind", "tuples"), KINDS.values(), ids=KINDS)
def test_only_tuples_that_begin_in_the_batch_reach_the_loss(make_setup, kind, tuples):
    _, _, watched, records = trained(make_setup, kind, tuples)
    for record, (_, labels, seen) in zip(records, watched.scored, strict=True):
        if kind is None:
            assert seen is None
            continue
        listed, everything = seen.listed(labels), tuples(labels).listed(labels)
        begins = everything.anchor < 12
        assert all(a.equal(b[begins]) for a, b in zip(listed, everything, strict=True))
        assert listed.anchor.max() < 12
        if isinstance(seen, Pairs | Triplets):
            assert record.tuples == len(seen.anchor)
    if kind is not None:
        last = watched.scored[-1][2].listed(watched.scored[-1][1])
        assert last[1].max() >= 12, "the memory is compared with"


def test_the_memory_has_no_gradient_and_the_batch_has(make_setup):
    _, sampler, watched, _ = trained(make_setup, None, lambda labels: None)
    for embeddings, _, _ in watched.scored:
        assert embeddings.grad[:12].abs().sum() > 0
    assert not any(rows.requires_grad for rows, _, _ in sampler.given)


def test_the_gradient_is_that_of_constants_in_the_place_of_the_memory(make_setup):
    """By hand: the same weights as with the memory written into the loss."""

    class Mining:
        kind = Triplets

        def __call__(self, embeddings, labels):
            return AllTriplets().listed(labels)

    sampler, loss = Remembers(Mining()), Triplet(margin=1.0)
    setup = make_setup(sampler=sampler, loss=loss, epochs=1)
    list(fit(setup, TrainState(), CPU))
    constants = [rows for rows, _, _ in sampler.given]

    class Plain:
        miner = Mining()

        def epoch(self, rng):
            yield from BATCHES

    calls = []

    def with_constants(embeddings, labels, tuples):
        step = len(calls)
        calls.append(step)
        if step == 0:
            return loss(embeddings, labels, tuples)
        rows = torch.cat([embeddings, constants[step - 1]])
        classes = torch.cat([labels, again.labels[BATCHES[step - 1]]])
        found = AllTriplets().listed(classes)
        kept = found.anchor < len(labels)
        return loss(rows, classes, Triplets(*(part[kept] for part in found)))

    again = replace(make_setup(sampler=Plain(), loss=loss, epochs=1), loss=with_constants)
    list(fit(again, TrainState(), CPU))
    for mine, theirs in zip(setup.model.parameters(), again.model.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_an_empty_memory_is_as_none(make_setup):
    _, _, watched, _ = trained(
        make_setup, Triplets, lambda labels: AllTriplets(), lambda e, c: (e[:0], c[:0])
    )
    assert [seen for _, _, seen in watched.scored] == [AllTriplets()] * 4
    assert {len(rows) for rows, _ in watched.mined} == {12}


WRONG = {
    "none": (lambda e, c: None, "NoneType"),
    "one tensor": (lambda e, c: e, "a torch.float32 tensor"),
    "a list": (lambda e, c: [e, c], "list"),
    "three": (lambda e, c: (e, c, c), "tuple"),
    "an array": (lambda e, c: (e.numpy(), c), "ndarray"),
    "other width": (lambda e, c: (e[:, :3], c), "[12, 3]"),
    "flat": (lambda e, c: (e.flatten(), c), "[48]"),
    "a number": (lambda e, c: (e.sum(), c), "tensor []"),
    "doubles": (lambda e, c: (e.double(), c), "torch.float64"),
    "with gradient": (lambda e, c: (e.clone().requires_grad_(), c), "without gradient"),
    "elsewhere": (lambda e, c: (e.to("meta"), c.to("meta")), "on meta"),
    "fewer labels": (lambda e, c: (e, c[:-1]), "torch.int64 tensor [11]"),
    "more labels": (lambda e, c: (e[:0], c), "torch.int64 tensor [12]"),
    "labels in columns": (lambda e, c: (e, c[:, None]), "[12, 1]"),
    "labels as floats": (lambda e, c: (e, c.float()), "torch.float32 tensor [12]"),
    "labels as int32": (lambda e, c: (e, c.int()), "torch.int32"),
    "labels elsewhere": (lambda e, c: (e, c.to("meta")), "on meta"),
    "no labels": (lambda e, c: (e, None), "NoneType"),
}


@pytest.mark.parametrize(("memory", "told"), WRONG.values(), ids=WRONG)
def test_what_is_no_memory_is_the_samplers_fault(make_setup, memory, told):
    with pytest.raises(PluginError, match="must remember") as caught:
        trained(make_setup, Triplets, lambda labels: AllTriplets(), memory)
    assert "Remembers" in str(caught.value)
    assert told in str(caught.value)


def test_an_error_while_remembering_is_the_samplers_fault(make_setup):
    def fails(embeddings, labels):
        raise KeyError("lost")

    with pytest.raises(PluginError, match="Remembers failed: KeyError: 'lost'"):
        trained(make_setup, Triplets, lambda labels: AllTriplets(), fails)


def test_labels_of_the_memory_that_no_batch_has_are_the_loss_matter(make_setup):
    _, _, watched, _ = trained(
        make_setup, None, lambda labels: None, lambda e, c: (e, torch.full_like(c, 99))
    )
    assert {int(labels.max()) for _, labels, _ in watched.scored} == {99}
