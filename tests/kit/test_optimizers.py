"""Each check of optimizers and schedules finds one that is broken in just that way."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim import SGD

from metricforge.testing import check_optimizer, check_schedule
from tests.kit.breaking import assert_all_are_broken, assert_ends


class Sound(SGD):
    """Stochastic gradient descent with momentum."""

    def __init__(self, params, *, lr: float = 0.1):
        super().__init__(params, lr=lr, momentum=0.9)


class Fails(Sound):
    def __init__(self, params):
        raise RuntimeError("no")


class Nameless(Sound):
    def __init__(self, params):
        super().__init__([{"params": group["params"]} for group in params])


class OneGroup(Sound):
    def __init__(self, params):
        super().__init__(params[:1])


class Uphill(Sound):
    """A gradient with the wrong sign."""

    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.grad.neg_()
        super().step()


class DecaysAll(Sound):
    """Weight decay where there is no gradient, too."""

    @torch.no_grad()
    def step(self, closure=None):
        super().step()
        for group in self.param_groups:
            for weight in group["params"]:
                weight.mul_(1 - 0.01 * group["lr"])


class OwnRate(Sound):
    """Reads the rate once."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.sub_(weight.grad, alpha=self.defaults["lr"])


class Remembers(Sound):
    """The steps behind it in an attribute, which no checkpoint has."""

    steps = 0

    def step(self, closure=None):
        self.steps += 1
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.grad.div_(self.steps)
        super().step()


class CountsInItsGroups(Sound):
    """The steps behind it in its groups, which a checkpoint has."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["steps"] = group.get("steps", 0) + 1
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.grad.div_(group["steps"])
        super().step()


class HasWords(Sound):
    """An option of its groups that no checkpoint needs."""

    def __init__(self, params, *, lr: float = 0.1):
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            group["words"] = ("a", "b")


class SharesATensor(Sound):
    """One count for all weights, by which it divides its steps."""

    def step(self, closure=None):
        weights = [weight for group in self.param_groups for weight in group["params"]]
        steps = self.state[weights[0]].setdefault("steps", torch.zeros(()))
        steps += 1
        for weight in weights:
            self.state[weight]["steps"] = steps
            if weight.grad is not None:
                weight.grad.div_(float(steps))
        super().step()


class KeepsByName(Sound):
    """State that belongs to no parameter."""

    def step(self, closure=None):
        self.state["all"]["steps"] = 1
        super().step()


class Draws(Sound):
    def step(self, closure=None):
        torch.rand(1)
        super().step()


BROKEN = {
    "builds": Fails,
    "keeps-the-groups": Nameless,
    "steps-follow-the-gradient": Uphill,
    "the-rate-scales-the-step": OwnRate,
    "resumes-exactly": Remembers,
    "global-generators-stay": Draws,
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_check_finds_its_broken_optimizer(name):
    assert_ends("optimizer", name, BROKEN[name], "failed")


def test_every_check_has_its_broken_optimizer():
    assert_all_are_broken("optimizer", BROKEN)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (OneGroup, "must keep the groups backbone, head"),
        (DecaysAll, "without a gradient"),
        (KeepsByName, "must keep its state by parameter"),
    ],
)
def test_what_else_is_found(broken, told):
    with pytest.raises(AssertionError, match=told):
        check_optimizer(broken)


def test_sound_ones_pass():
    check_optimizer(Sound, lr=0.01)
    check_optimizer(CountsInItsGroups)
    check_optimizer(SharesATensor)
    check_optimizer(HasWords)
    check_schedule(SoundSchedule, end=0.5)
    check_schedule(Falls)


class SoundSchedule:
    """A straight line down to `end`."""

    def __init__(self, *, end: float = 0.0):
        self.end = end

    def __call__(self, spent):
        return 1 - (1 - self.end) * spent


class FailsToo(SoundSchedule):
    def __init__(self):
        raise RuntimeError("no")


class NotANumber(SoundSchedule):
    def __call__(self, spent):
        return math.nan if spent > 0.9 else 1.0


class Zero(SoundSchedule):
    def __call__(self, spent):
        return 0.0


class Counts(SoundSchedule):
    """Goes by its calls, of which a resumed run has had none."""

    calls = 0

    def __call__(self, spent):
        self.calls += 1
        return 0.99**self.calls


class Falls(SoundSchedule):
    patience = 2

    def reduced(self, rate):
        return rate / 10


class Rises(Falls):
    def reduced(self, rate):
        return rate * 2


class Impatient(Falls):
    patience = 0


class DrawsToo(SoundSchedule):
    def __call__(self, spent):
        torch.rand(1)
        return 1.0


BROKEN_SCHEDULES = {
    "builds": FailsToo,
    "gives-factors": NotANumber,
    "depends-on-the-fraction-alone": Counts,
    "reduces-as-agreed": Rises,
    "global-generators-stay": DrawsToo,
}


@pytest.mark.parametrize("name", BROKEN_SCHEDULES)
def test_each_check_finds_its_broken_schedule(name):
    assert_ends("schedule", name, BROKEN_SCHEDULES[name], "failed")


def test_every_check_has_its_broken_schedule():
    assert_all_are_broken("schedule", BROKEN_SCHEDULES)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (Zero, "nothing would learn"),
        (Impatient, "patience of 1 epoch or more; it gave 0"),
    ],
)
def test_what_else_is_found_of_a_schedule(broken, told):
    with pytest.raises(AssertionError, match=told):
        check_schedule(broken)
