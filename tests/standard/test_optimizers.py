"""Optimizers and schedules by name and as objects, from a recipe to a trained network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import metricforge as mf
from metricforge.errors import PluginError, UsageError
from metricforge.runtime import Runtime
from metricforge.spec import Spec
from metricforge.training.checkpoint import Checkpoints
from metricforge.training.loop import TrainState, fit
from metricforge.training.optimizer import make_optimizer, parts_of

QUICK: dict[str, Any] = {
    "dataset": "digits", "orientations": 1, "images": 128, "backbone": "conv4:channels=4",
    "dim": 8, "protocols": "retrieval", "progress": False,
}  # fmt: skip


def test_they_are_in_the_record_of_a_run_with_all_defaults(tmp_path: Path) -> None:
    run = mf.train(optimizer="sgd", schedule="step:every=0.5", out=tmp_path / "r", **QUICK)
    recipe = run.recipe
    assert str(recipe.optimizer) == "sgd:lr=0.05,momentum=0.9,weight_decay=0.0001"
    assert str(recipe.schedule) == "step:every=0.5,factor=0.1,warmup=0.0"
    owners = run.folder.read("env", dict)["components"]
    assert owners["optimizer"].startswith("metricforge ")
    assert owners["schedule"].startswith("metricforge ")


@pytest.mark.parametrize(
    "optimizer", [torch.optim.Adagrad, partial(torch.optim.RMSprop, lr=1e-3, momentum=0.5)]
)
def test_a_class_of_torch_is_an_optimizer(optimizer: Any, tmp_path: Path) -> None:
    run = mf.train(optimizer=optimizer, out=tmp_path / "r", **QUICK)
    name = (optimizer.func if isinstance(optimizer, partial) else optimizer).__name__
    assert f":{name}" in (run.path / "config.toml").read_text()
    assert run.results["trained"]


def test_a_function_is_a_schedule(tmp_path: Path) -> None:
    asked: list[float] = []

    def half(spent: float) -> float:
        asked.append(spent)
        return 0.5

    mf.train(schedule=half, out=tmp_path / "r", **QUICK)
    assert asked == sorted(asked)
    assert 0 <= asked[0] < asked[-1] <= 1


@pytest.mark.parametrize(
    "finished", [torch.optim.SGD([torch.zeros(1)], lr=0.1), lambda groups: None]
)
def test_a_finished_optimizer_is_refused(finished: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"takes a class or a functools\.partial, not object"):
        mf.train(optimizer=finished, out=tmp_path / "r", **QUICK)
    assert not (tmp_path / "r").exists()


class CountsItsSteps(torch.optim.SGD):
    """Steps that fall with their number, which its groups have."""

    def __init__(self, params: Any, *, lr: float = 0.1, fails_at: int = -1) -> None:
        super().__init__(params, lr=lr)
        self.fails_at = fails_at

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["steps"] = group.get("steps", 0) + 1
            if group["steps"] == self.fails_at:
                raise ValueError("boom")
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.grad.div_(group["steps"])
        super().step()


def test_what_an_optimizer_counts_in_its_groups_is_in_a_checkpoint(make_setup, tmp_path) -> None:
    def setup() -> Any:
        made = make_setup()
        parts = parts_of(made.model, made.loss)
        return replace(made, optimizer=make_optimizer(CountsItsSteps, parts))

    def weights(made: Any) -> list[torch.Tensor]:
        return [weight.detach().clone() for weight in made.model.parameters()]

    cpu = Runtime(torch.device("cpu"))
    straight = setup()
    list(fit(straight, TrainState(), cpu))
    stopped, state, checkpoints = setup(), TrainState(), Checkpoints(tmp_path)
    for _ in zip(range(3), fit(stopped, state, cpu), strict=False):
        checkpoints.save(stopped, state)
    resumed = setup()
    state, damaged = checkpoints.restore_newest(resumed)
    assert damaged == []
    list(fit(resumed, state, cpu))
    assert all(a.equal(b) for a, b in zip(weights(straight), weights(resumed), strict=True))


def test_a_step_that_raises_names_the_optimizer(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"CountsItsSteps.* failed: ValueError: boom"):
        mf.train(optimizer=partial(CountsItsSteps, fails_at=2), out=tmp_path / "r", **QUICK)


def test_a_class_that_takes_no_groups_is_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"LBFGS failed: ValueError"):
        mf.train(optimizer=torch.optim.LBFGS, out=tmp_path / "r", **QUICK)


def test_another_rate_of_an_object_is_another_run(tmp_path: Path) -> None:
    out = tmp_path / "r"
    run = mf.train(optimizer=partial(torch.optim.SGD, lr=0.3), out=out, **QUICK)
    assert 'optimizer = "object torch.optim.sgd:SGD(lr=0.3)"' in (out / "config.toml").read_text()
    again = {"auto_resume": True, "out": out, **QUICK}
    mf.train(optimizer=partial(torch.optim.SGD, lr=0.3), **again)
    with pytest.raises(UsageError, match=r"optimizer: .*lr=0\.3.* / .*lr=0\.001"):
        mf.train(optimizer=partial(torch.optim.SGD, lr=0.001), **again)
    assert run.results["trained"]


@pytest.mark.parametrize("patience", ["3", 0])
def test_a_patience_that_is_no_number_of_epochs_names_the_schedule(
    patience: Any, tmp_path: Path
) -> None:
    class Odd:
        def __call__(self, spent: float) -> float:
            return 1.0

        def reduced(self, rate: float) -> float:
            return rate / 2

    Odd.patience = patience  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match="must have a patience of 1 epoch or more"):
        mf.train(schedule=Odd(), out=tmp_path / "r", **QUICK)


def test_another_name_gets_the_nearest(tmp_path: Path) -> None:
    for given, near in ({"optimizer": "adamww"}, "adamw"), ({"schedule": "cosin"}, "cosine"):
        with pytest.raises(UsageError, match=f"did you mean '{near}'"):
            mf.train(**given, out=tmp_path / "r", **QUICK)


def test_a_schedule_that_reduces_needs_classes_that_validate(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the schedule plateau needs two validation classes"):
        mf.train(
            schedule=Spec("plateau"),
            split="classes:train=0-6,validation=7,test=8+9",
            out=tmp_path / "r",
            **QUICK,
        )
