"""Optimizers and schedules by name and as objects, from a recipe to a trained network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import metricforge as mf
from metricforge.errors import UsageError
from metricforge.spec import Spec

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
    with pytest.raises(UsageError, match=r"takes a class or a functools\.partial of one"):
        mf.train(optimizer=finished, out=tmp_path / "r", **QUICK)
    assert not (tmp_path / "r").exists()


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
