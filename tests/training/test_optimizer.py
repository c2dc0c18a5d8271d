"""Optimisers by spec: the parts of a model, their rates, and what is frozen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD

from metricforge.errors import PluginError, UsageError
from metricforge.registry import Registry
from metricforge.runtime import Runtime
from metricforge.spec import Spec
from metricforge.training.loop import TrainState, fit
from metricforge.training.optimizer import make_optimizer, parts_of, read_rates
from metricforge.training.records import EpochRecord, StepRecord
from metricforge.training.setup import Validated

CPU = Runtime(torch.device("cpu"))


def make_schedule(text):
    return Registry.installed().build("schedule", Spec.parse(text), {})


USUAL = partial(SGD, lr=0.1)


def rated(setup, text, build=USUAL):
    parts = parts_of(setup.model, setup.loss)
    return replace(setup, optimizer=make_optimizer(build, parts, read_rates(text)))


def test_rates_are_factors_by_part_and_one_where_none_is_given():
    assert read_rates(None) == {"backbone": 1, "head": 1, "loss": 1}
    assert read_rates("loss=100,backbone=0.1") == {"backbone": 0.1, "head": 1, "loss": 100}


@pytest.mark.parametrize(
    ("text", "told"),
    [("los=1", "did you mean 'loss'"), ("loss", "factors"), ("head=x", "factors"),
     ("head=-1", "factors"), ("head=nan", "factors"), ("head=inf", "factors"), (",", "unknown"),
     ("head=1,head=2", "head twice"), ("loss=3,head=2,loss=3", "loss twice")],
)  # fmt: skip
def test_other_rates_are_refused(text, told):
    with pytest.raises(UsageError, match=told):
        read_rates(text)


def test_each_part_learns_at_its_own_rate(make_setup):
    setup = make_setup(sampler="balanced:classes=3,per_class=3", loss="pml.ProxyAnchorLoss")
    setup = rated(setup, "backbone=0.5,loss=100")
    record = next(iter(fit(setup, TrainState(), CPU)))
    rates = {group["name"]: group["lr"] for group in setup.optimizer.param_groups}
    assert rates == {
        "backbone": pytest.approx(0.5 * record.lr),
        "head": pytest.approx(record.lr),
        "loss": pytest.approx(100 * record.lr),
    }
    assert record.lr == pytest.approx(0.1 * setup.schedule(record.spent / 2))


def test_a_part_of_rate_zero_stays_as_it_is_and_everything_frozen_is_refused(make_setup):
    setup = rated(make_setup(), "backbone=0")
    before = {n: p.clone() for n, p in setup.model.named_parameters()}
    list(fit(replace(setup, frozen=setup.epochs), TrainState(), CPU))
    same = {n for n, p in setup.model.named_parameters() if p.equal(before[n])}
    assert same == {n for n in before if n.startswith("backbone.")}
    with pytest.raises(UsageError, match="nothing is left to train"):
        rated(make_setup(), "backbone=0,head=0")


def test_a_rate_of_what_has_no_parameters_is_refused(make_setup):
    with pytest.raises(UsageError, match="rates has loss=100, and this loss has no parameters"):
        rated(make_setup(), "loss=100")
    with pytest.raises(UsageError, match="rates has loss=0"):
        rated(make_setup(), "loss=0")
    rated(make_setup(), "loss=1")


@pytest.mark.parametrize("lr", ["0", "-1", "nan", "inf"])
def test_a_rate_that_is_not_above_0_is_refused(make_setup, lr):
    with pytest.raises(UsageError, match=r"must be above 0|Invalid learning rate"):
        make_setup(optimizer=f"adam:lr={lr}")


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda groups: nn.Linear(1, 1), "must be a torch.optim.Optimizer, not Linear"),
        (lambda groups: SGD(groups[:1], lr=0.1), "must keep the groups backbone, head"),
        (
            lambda groups: SGD([{"params": each["params"]} for each in groups], lr=0.1),
            "it gave None",
        ),
    ],
)
def test_an_optimizer_that_loses_a_part_is_refused(make_setup, build, told):
    with pytest.raises(PluginError, match=told):
        rated(make_setup(), "head=2", build)


@pytest.mark.parametrize("lr", [0.0, float("nan"), torch.tensor(0.1)])
def test_the_rate_of_any_optimizer_is_a_number_above_0(make_setup, lr):
    def build(groups):
        optimizer = SGD(groups, lr=0.1)
        optimizer.defaults["lr"] = lr
        return optimizer

    with pytest.raises((UsageError, PluginError), match=r"must be above 0|must have a number"):
        rated(make_setup(), None, build)


@pytest.mark.parametrize("weight_decay", ["-1"])
@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "radam", "sgd"])
def test_what_torch_refuses_is_a_usage_error(make_setup, name, weight_decay):
    with pytest.raises(UsageError, match="Invalid weight_decay value"):
        make_setup(optimizer=f"{name}:weight_decay={weight_decay}")


@pytest.mark.parametrize("value", [float("nan"), -0.1, float("inf"), None, "1"])
def test_a_schedule_that_gives_no_factor_is_named(make_setup, value):
    def falls(spent):
        return value

    with pytest.raises(PluginError, match="falls must give a factor on the learning rate"):
        list(fit(replace(make_setup(), schedule=falls), TrainState(), CPU))


@pytest.mark.parametrize(
    ("spec", "told"),
    [("cosine:warmup=2", "fraction of the training, from 0 to 1, not 2.0"),
     ("cosine:end=-1", "factor on the learning rate, from 0 to 1, not -1.0"),
     ("cosine:end=nan", "factor"), ("constant:warmup=-0.1", "warmup is a fraction"),
     ("step:every=0", "fraction of the training, above 0, not 0.0"),
     ("step:every=1.5", "every is a fraction"), ("step:every=nan", "every is a fraction"),
     ("plateau:patience=0", "number of epochs, 1 or more, not 0"),
     ("plateau:factor=2", "factor on the learning rate"),
     ("plateau:end=-1", "factor on the learning rate"),
     ("step:factor=2", "factor on the learning rate"), ("step:warmup=2", "warmup is a fraction")],
)  # fmt: skip
def test_a_schedule_beyond_its_bounds_is_refused(spec, told):
    with pytest.raises(UsageError, match=told):
        make_schedule(spec)


def test_a_schedule_rises_over_a_share_of_the_training_and_falls_to_its_end():
    schedule = make_schedule("cosine:warmup=0.2,end=0.1")
    expected = {0.1: 0.5, 0.2: 1.0, 0.6: 0.55, 1.0: 0.1}
    assert {spent: schedule(spent) for spent in expected} == pytest.approx(expected)
    assert make_schedule("cosine:warmup=1")(1.0) == pytest.approx(1)


def test_a_schedule_of_steps_falls_by_its_factor_where_the_example_does():
    schedule = make_schedule("step")
    # The siamese example's StepLR(8, gamma=0.1) over 20 epochs, in the middle of a step of each.
    rates = [schedule((epoch + middle) / 20) for epoch in range(20) for middle in (0.001, 0.999)]
    assert rates == pytest.approx([1.0] * 16 + [0.1] * 16 + [0.01] * 8)


def test_a_schedule_of_steps_falls_at_each_fraction_and_rises_before():
    schedule = make_schedule("step:every=0.1,factor=0.5,warmup=0.2")
    # 0.3 / 0.1 is 2.9999999999999996.
    expected = {0.05: 0.25, 0.1: 0.25, 0.15: 0.375, 0.2: 0.25, 0.3: 0.125, 0.39: 0.125, 1.0: 2**-10}
    assert {spent: schedule(spent) for spent in expected} == pytest.approx(expected)
    assert make_schedule("step:every=1")(0.999) == 1


@pytest.mark.parametrize(
    ("spec", "scores", "factors"),
    [
        # An equal score is not better; after a fall the epochs are counted anew.
        ("patience=2,factor=0.1", [0.5, 0.7, 0.7, 0.1, 0.2, 0.6, 0.8, 0.7],
         [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]),
        ("patience=1,factor=0.5", [0.1, 0.1, 0.2, 0.1, 0.1], [1, 1, 0.5, 0.5, 0.25]),
        ("patience=1,factor=0.1,end=0.05", [0.9, 0.1, 0.1, 0.1], [1, 1, 0.1, 0.05]),
        ("patience=3,factor=0.1", [0.1, 0.2, 0.3, 0.4], [1] * 4),
    ],
)  # fmt: skip
def test_the_rate_falls_on_a_plateau(make_setup, spec, scores, factors):
    values = iter(scores)
    setup = replace(
        make_setup(epochs=len(scores)),
        schedule=make_schedule(f"plateau:{spec}"),
        validate=lambda model: Validated({"score": next(values)}),
    )
    rates = {}
    for record in fit(setup, TrainState(), CPU):
        if isinstance(record, StepRecord):
            rates.setdefault(record.epoch, set()).add(record.lr)
            for group in setup.optimizer.param_groups:
                assert group["lr"] == pytest.approx(record.lr)
    assert [len(each) for each in rates.values()] == [1] * len(scores)
    assert [each.pop() for each in rates.values()] == pytest.approx([0.01 * f for f in factors])


def test_an_error_that_falls_is_no_plateau(make_setup):
    values = iter([0.5, 0.4, 0.3, 0.2])
    setup = replace(
        make_setup(epochs=4),
        schedule=make_schedule("plateau:patience=1"),
        validate=lambda model: Validated({"error": next(values)}),
        lower_is_better=True,
    )
    state = TrainState()
    list(fit(setup, state, CPU))
    assert state.rate == 1


def test_a_plateau_rises_over_its_warmup():
    schedule = make_schedule("plateau:warmup=0.5")
    assert [schedule(spent) for spent in (0.25, 0.5, 1.0)] == [0.5, 1.0, 1.0]


def test_the_backbone_waits_while_it_is_frozen_its_batch_norm_too(make_setup):
    setup = replace(make_setup(epochs=3), frozen=2)
    kept = []

    def backbone():
        return [v.detach().clone() for v in setup.model.backbone.state_dict().values()]

    kept.append(backbone())
    for record in fit(setup, TrainState(), CPU):
        if isinstance(record, EpochRecord):
            kept.append(backbone())
    still = [all(a.equal(b) for a, b in zip(kept[i], kept[i + 1], strict=True)) for i in range(3)]
    assert still == [True, True, False]


def test_frozen_norms_keep_their_statistics_and_learn_their_weights(make_setup):
    setup = replace(make_setup(epochs=1), frozen_norms=True)
    norm = setup.model.backbone.norm
    mean, weight = norm.running_mean.clone(), norm.weight.detach().clone()
    list(fit(setup, TrainState(), CPU))
    assert norm.running_mean.equal(mean)
    assert not norm.weight.equal(weight)


def test_gradients_are_cut_to_the_length_asked_for(make_setup):
    def lengths(setup):
        for record in fit(setup, TrainState(), CPU):
            if isinstance(record, StepRecord):
                grads = [p.grad for p in setup.model.parameters() if p.grad is not None]
                yield record.gradient_norm, float(nn.utils.get_total_norm(grads))

    found = list(lengths(replace(make_setup(), clip=0.01)))
    assert any(before > 0.01 for before, _ in found)
    for before, after in found:
        assert after == pytest.approx(min(before, 0.01), rel=1e-3)
    assert {before for before, _ in lengths(make_setup())} == {None}


def test_a_scaled_loss_is_clipped_by_the_length_of_what_it_stands_for(make_setup):
    """Scaled by a power of two, all is the same to the bit."""

    def trained(**options):
        setup = replace(make_setup(), clip=0.01, **options)
        steps = [r for r in fit(setup, TrainState(), CPU) if isinstance(r, StepRecord)]
        return [s.gradient_norm for s in steps], [p.detach() for p in setup.model.parameters()]

    norms, expected = trained()
    scaled, weights = trained(scaler=torch.amp.GradScaler("cpu", init_scale=8.0))
    assert scaled == norms
    assert all(one.equal(other) for one, other in zip(weights, expected, strict=True))


def test_a_step_that_fp16_skips_has_no_length(make_setup):
    setup = replace(make_setup(), clip=1.0, scaler=torch.amp.GradScaler("cpu", init_scale=2.0**40))
    before = [p.detach().clone() for p in setup.model.parameters()]
    record = next(iter(fit(setup, TrainState(), Runtime.resolve("cpu", "fp16"))))
    assert record.gradient_norm is None
    assert setup.scaler.get_scale() == 2.0**39
    after = setup.model.parameters()
    assert all(one.equal(other) for one, other in zip(before, after, strict=True))
