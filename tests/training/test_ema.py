"""The average of the weights: what it is, and that it is what is judged and kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metricforge.runtime import Runtime
from metricforge.training.checkpoint import Checkpoints
from metricforge.training.ema import averaged
from metricforge.training.loop import TrainState, fit
from metricforge.training.records import EpochRecord, StepRecord
from metricforge.training.setup import Validated

CPU = Runtime(torch.device("cpu"))


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_it_follows_the_weights_as_a_naive_loop_does(make_setup, decay):
    setup = make_setup()
    setup = replace(setup, average=averaged(setup.model, decay))
    expected, updates = {}, 0
    for record in fit(setup, TrainState(), CPU):
        if isinstance(record, StepRecord):
            for name, value in setup.model.state_dict().items():
                newest = value.detach().clone()
                if not updates or not newest.is_floating_point():
                    expected[name] = newest.double() if newest.is_floating_point() else newest
                    continue
                weight = min(decay, (1 + updates) / (10 + updates))
                expected[name] = weight * expected[name] + (1 - weight) * newest.double()
            updates += 1
    found = setup.judged.state_dict()
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.to(expected[name].dtype).allclose(expected[name], atol=1e-6), name
    assert not found["head.project.weight"].equal(setup.model.state_dict()["head.project.weight"])


def test_it_is_judged_and_kept_as_the_best(make_setup, tmp_path):
    setup = make_setup()
    setup = replace(setup, average=averaged(setup.model, 0.9))
    judged, checkpoints, state, best = [], Checkpoints(tmp_path), TrainState(), {}

    def validate(model):
        judged.append(model)
        return Validated({"score": len(judged)})

    setup = replace(setup, validate=validate)
    for record in fit(setup, state, CPU):
        if isinstance(record, EpochRecord):
            checkpoints.save(setup, state)
            best = {n: v.clone() for n, v in setup.judged.state_dict().items()}
    assert all(model is setup.average.module for model in judged)
    checkpoints.restore_best(setup)
    assert all(v.equal(best[n]) for n, v in setup.model.state_dict().items())
