"""The loss on validation images: its batches, what it is of, and that nothing else changes."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from metricforge_standard.losses.contrastive import Contrastive
from metricforge_standard.losses.softmax import Softmax
from metricforge_standard.losses.triplet import Triplet
from metricforge_standard.miners._laid_out import LaidOutPairs, LaidOutTriplets
from metricforge_standard.miners.all_pairs import AllPairs
from torch import nn

import metricforge
from metricforge.contracts import Counted, Dataset, Pairs, Triplets
from metricforge.enforcement import check_labels, check_tuples
from metricforge.recipes.recipe import Recipe
from metricforge.registry import Registry
from metricforge.runs.build import assemble
from metricforge.runs.folder import RunFolder
from metricforge.runs.metrics_log import first_failure, line
from metricforge.runtime import Runtime, generator
from metricforge.spec import Spec
from metricforge.training.balanced_batches import balanced_batches
from metricforge.training.checkpoint import Checkpoints
from metricforge.training.loop import EpochRecord, TrainState, fit
from metricforge.training.records import StepRecord
from metricforge.training.setup import Validated
from metricforge.training.validation_loss import SEED_SUFFIX, HeldOut, held_out, knows_classes

CPU = Runtime(torch.device("cpu"))


def rows(classes=4, each=9, dim=4):
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(classes * each) % classes
    return torch.randn(classes * each, dim, generator=rng), labels


def at_the_end(setup, epoch=1):
    """Where this epoch has taken its steps and is not closed yet."""
    state = TrainState()
    for record in fit(setup, state, CPU):
        if isinstance(record, StepRecord) and record.step == epoch * record.steps_in_epoch:
            return state
    raise AssertionError


def compared(setup, known=True, epoch=1, **given):
    embeddings, labels = rows(**given)
    validated = Validated({}, embeddings, labels, known)
    return held_out(setup, at_the_end(setup, epoch), validated, CPU)


@pytest.mark.parametrize("kind", [None, Pairs, Triplets])
@pytest.mark.parametrize(
    "sizes", [[4] * 10, [1, 2, 3, 50], [7], [2] * 30, [1, 1, 1], [25] * 10], ids=str
)
def test_batches_are_balanced_and_laid_out_for_miners_of_places(kind, sizes):
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    batches = balanced_batches(labels, 5, 4, kind, np.random.default_rng(0))
    shown = [image for batch in batches for image in batch.tolist()]
    assert len(set(shown)) == len(shown)
    if kind is None:
        assert sorted(shown) == list(range(len(labels)))
    same = []
    for batch in batches:
        of_batch = labels[batch]
        assert max(Counter(of_batch.tolist()).values()) <= 4
        assert len(of_batch.unique()) <= 5
        if kind is not None:
            miner = LaidOutPairs() if kind is Pairs else LaidOutTriplets()
            tuples = miner(torch.zeros(len(batch), 2), of_batch)
            check_tuples(miner, tuples, of_batch)
            check_labels(miner, tuples, of_batch)
            same += tuples.same.tolist() if kind is Pairs else []
    if kind is Pairs and sizes in ([4] * 10, [2] * 30, [25] * 10):
        assert len(shown) >= len(labels) - len(batches)
        assert 0.3 < np.mean(same) < 0.7


def test_batches_of_no_images_are_none():
    assert balanced_batches(torch.zeros(0), 2, 2, Pairs, np.random.default_rng(0)) == []


def test_the_loss_is_the_mean_over_batches_like_those_of_the_training(make_setup):
    setup = make_setup(sampler="all-pairs:classes=3,per_class=4", loss="contrastive:margin=2")
    embeddings, labels = rows()
    # As many classes, 3 of the 4 that there are, and images of each: cut evenly, three of nine.
    batches = balanced_batches(labels, 3, 4, Pairs, generator(0, 0, 0, *SEED_SUFFIX))
    rng = np.random.default_rng(0)
    values = [
        float(Contrastive(margin=2.0)(embeddings[b], labels[b], AllPairs()(None, labels[b], rng)))
        for b in batches
    ]
    assert len(values) == 6
    found = compared(setup)
    assert found == HeldOut(pytest.approx(sum(values) / len(values)), None)
    assert compared(setup, known=False) == found


@pytest.mark.parametrize(
    ("sampler", "loss"),
    [
        ("random-pairs:pairs=12", "contrastive"),
        ("random-triplets:triplets=8", "triplet"),
        ("random-hard-triplet:classes=3,per_class=4", "triplet:margin=1,squared=true"),
        ("all-pairs:classes=3,per_class=4,balanced=true", "contrastive:reduction=sum"),
        ("balanced:classes=3,per_class=4", "supcon"),
        ("multi-similarity:classes=3,per_class=4", "multi-similarity"),
        ("schedule:0=random-triplets,2=hard-triplet", "triplet"),
    ],
)
def test_there_is_a_loss_whatever_the_sampler(make_setup, sampler, loss):
    setup = make_setup(sampler=sampler, loss=loss)
    first, again = compared(setup, known=False), compared(setup, known=False)
    assert first == again
    assert first.loss > 0
    assert first.accuracy is None


def test_a_loss_of_classes_has_none_on_others_and_its_accuracy_on_its_own(make_setup):
    setup = make_setup(sampler="balanced:classes=3,per_class=3", loss="softmax:scale=1")
    assert compared(setup, known=False) == HeldOut()
    found = compared(setup)
    embeddings, labels = rows()
    right = (setup.loss.predict(embeddings) == labels).float().mean()
    assert found.accuracy == pytest.approx(float(right))
    # Batches of one size: their mean is that of all images.
    assert found.loss == pytest.approx(
        float(setup.loss(embeddings, labels, None).detach()), rel=1e-5
    )
    proxies = make_setup(sampler="balanced:classes=3,per_class=3", loss="pml.ProxyAnchorLoss")
    assert compared(proxies, known=False) == HeldOut()
    assert compared(proxies).loss > 0
    assert compared(proxies).accuracy is None


@pytest.mark.parametrize(
    ("spec", "known"),
    [("softmax", True), ("pml.ProxyNCALoss", True), ("margin", False), ("triplet", False)],
)
def test_which_losses_know_classes(spec, known):
    loss = Registry.installed().build("loss", Spec.parse(spec), {"dim": 4, "num_classes": 6})
    assert knows_classes(loss) is known


class Fails(Triplet):
    """Takes the batches of its training alone."""

    def counted(self, embeddings, labels, tuples):
        if not torch.is_grad_enabled():
            raise ValueError("another batch")
        return super().counted(embeddings, labels, tuples)


class Infinite(Triplet):
    """Has no finite loss on validation images."""

    def counted(self, embeddings, labels, tuples):
        value, active = super().counted(embeddings, labels, tuples)
        return Counted(value if torch.is_grad_enabled() else value * math.inf, active)


class KeepsItsGraph(Triplet):
    """Holds what can't be copied."""

    def counted(self, embeddings, labels, tuples):
        self.last = super().counted(embeddings, labels, tuples)
        return self.last


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (Fails(), "another batch"),
        (Infinite(), "not finite"),
        (KeepsItsGraph(), "can't be copied"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_loss_that_can_not_be_had_ends_no_training_and_says_why(make_setup, loss, why):
    found = compared(make_setup(loss=loss), known=False)
    assert (found.loss, found.accuracy) == (None, None)
    assert why in found.failed


def test_a_user_hears_once_why_there_is_no_loss(tmp_path):
    run = metricforge.train(
        dataset="digits", loss=Fails(), backbone="conv4:channels=4", epochs=2,
        orientations=1, test=False, progress=False, out=tmp_path / "r",
    )  # fmt: skip
    told = [line for line in run.path.joinpath("log.txt").read_text().splitlines()
            if "no loss on validation images" in line and "another batch" in line]  # fmt: skip
    assert len(told) == 1


def test_a_run_that_goes_on_knows_that_it_was_said(tmp_path):
    folder = RunFolder(tmp_path)
    for failed in (None, "it is not finite"):
        record = EpochRecord(1, 9, 0.1, 0, {}, best=True, seconds=1.0)
        folder.append(folder.metrics, line(replace(record, validation_loss_failed=failed)))
        found = first_failure(folder)
        assert (found and found.validation_loss_failed) == failed


@pytest.mark.parametrize("accumulate", [1, 2, 3, 5, 1000])
def test_a_last_step_of_fewer_batches_has_the_miner_of_its_last(make_setup, accumulate):
    """A blended schedule has a miner for each batch."""
    sampler = "schedule:0=random-triplets:triplets=4,1=hard-triplet,blend=1"
    setup = make_setup(sampler=sampler, loss="triplet")
    setup = replace(setup, accumulate=accumulate, miner_at=setup.sampler.miner_at)
    state = at_the_end(setup, epoch=2)
    with pytest.raises(IndexError):
        setup.miner_at(state.epoch, len(state.batches))
    assert compared(setup, known=False, epoch=2).loss > 0


def test_no_validation_images_have_no_loss(make_setup):
    setup = make_setup()
    assert held_out(setup, at_the_end(setup), Validated({}), CPU) == HeldOut()


def assembled(split="images:validation=0.25,test=0.25", **options):
    """The setup of a recipe; by default of a closed set."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(144) % 6
    noise = torch.randint(0, 100, (144, 1, 8, 8), generator=rng)
    images = (noise + 25 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    dataset = Dataset("noise", images, labels, tuple("abcdef"), (1, 8, 8))
    values = {"sampler": "balanced:per_class=4", "loss": "softmax", **options}
    recipe = Recipe(
        dataset=dataset, split=split, backbone="conv4:channels=8", dim=8, epochs=2, device="cpu",
        protocols=("retrieval",), **values,
    )  # fmt: skip
    return assemble(recipe, Registry.installed()).setup


def epochs_of(setup, state=None):
    return [r for r in fit(setup, state or TrainState(), CPU) if isinstance(r, EpochRecord)]


def plain(record):
    return {name: value for name, value in vars(record).items() if name != "seconds"}


def test_a_closed_set_has_both_and_held_out_classes_the_loss_alone():
    for record in epochs_of(assembled()):
        assert record.validation_loss > 0
        assert 0 <= record.validation_accuracy <= 1
    of_others = "classes:train=a-b,validation=c-d,test=e-f"
    assert {r.validation_loss for r in epochs_of(assembled(of_others))} == {None}
    pairs = {"sampler": "all-pairs:per_class=4,balanced=true", "loss": "contrastive"}
    for record in epochs_of(assembled(of_others, **pairs)):
        assert record.validation_loss > 0
        assert record.validation_accuracy is None


def test_images_as_they_are_have_the_first_orientation_of_their_class():
    validated = assembled(orientations=4).validate(assembled(orientations=4).model)
    assert validated.known
    assert validated.labels.unique().tolist() == [0, 4, 8, 12, 16, 20]


@pytest.mark.parametrize("loss", ["softmax", "sum:a=softmax,b=supcon"])
def test_a_training_is_the_same_with_it_and_without(loss):
    """To the bit; what it learns, scores and remembers."""

    def without():
        setup = assembled(loss=loss)
        validate = lambda model: Validated(setup.validate(model).scores)  # noqa: E731
        return replace(setup, validate=validate)

    tasks = assembled(loss=loss), without()
    found, expected = (epochs_of(setup) for setup in tasks)
    assert found[0].validation_loss is not None
    assert expected[0].validation_loss is None
    assert [r.validation for r in found] == [r.validation for r in expected]
    assert [r.loss for r in found] == [r.loss for r in expected]
    for one, other in zip(*(setup.model.state_dict().values() for setup in tasks), strict=True):
        assert one.equal(other)


def test_resumed_anywhere_it_has_the_same_loss(tmp_path):
    options = {"sampler": "all-pairs:per_class=4,balanced=true", "loss": "contrastive"}
    setup, state, saved = assembled(**options), TrainState(), []
    expected = []
    for record in fit(setup, state, CPU):
        expected += [plain(record)] if isinstance(record, EpochRecord) else []
        saved.append(Checkpoints(tmp_path / str(len(saved))))
        saved[-1].save(setup, state)
    for checkpoints in saved[:-1]:
        again = assembled(**options)
        state, _ = checkpoints.restore_newest(again)
        found = [plain(record) for record in epochs_of(again, state)]
        assert found == expected[len(expected) - len(found) :]


def test_a_loss_is_evaluated_as_a_module_is():
    class Drops(Softmax):
        def forward(self, embeddings, labels, tuples):
            assert self.training == torch.is_grad_enabled()
            return super().forward(
                nn.functional.dropout(embeddings, 0.5, self.training), labels, tuples
            )

    loss = Drops(8, 6)
    assert epochs_of(assembled(loss=loss))[0].validation_loss > 0
    assert loss.training
