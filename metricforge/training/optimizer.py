"""Optimisers and learning-rate schedules by spec; their keyword-only parameters are options."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from metricforge.errors import UsageError, unknown
from metricforge.spec import Factory, Spec, bind, complete

Parameters = Iterable[nn.Parameter]
Schedule = Callable[[float], float]
"""The share of the budget that is spent, 0 to 1, to the factor on the learning rate."""


def adam(params: Parameters, *, lr: float = 1e-3, weight_decay: float = 0.0) -> Optimizer:
    """Adam (Kingma 2015)."""
    return torch.optim.Adam(params, lr=lr, weight_decay=weight_decay)


def adamw(params: Parameters, *, lr: float = 1e-3, weight_decay: float = 1e-4) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov 2019)."""
    return torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay)


def nadam(params: Parameters, *, lr: float = 1e-3, weight_decay: float = 0.0) -> Optimizer:
    """Adam with Nesterov momentum (Dozat 2016)."""
    return torch.optim.NAdam(params, lr=lr, weight_decay=weight_decay)


def radam(params: Parameters, *, lr: float = 1e-3, weight_decay: float = 0.0) -> Optimizer:
    """Rectified Adam, which needs no warm-up (Liu 2020)."""
    return torch.optim.RAdam(params, lr=lr, weight_decay=weight_decay)


def sgd(
    params: Parameters, *, lr: float = 0.05, momentum: float = 0.9, weight_decay: float = 1e-4
) -> Optimizer:
    """Stochastic gradient descent with Nesterov momentum."""
    nesterov = momentum > 0
    return torch.optim.SGD(
        params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
    )


def cosine(*, warmup: float = 0.05, end: float = 0.0) -> Schedule:
    """A linear rise over `warmup` of the budget, then half a cosine down to `end`."""

    def factor(spent: float) -> float:
        if spent < warmup:
            return spent / warmup
        fall = (spent - warmup) / max(1 - warmup, 1e-9)
        return end + (1 - end) * (1 + math.cos(math.pi * fall)) / 2

    return factor


def constant(*, warmup: float = 0.0) -> Schedule:
    """A linear rise over `warmup` of the budget, then the same rate to the end."""
    return lambda spent: min(1.0, spent / warmup) if warmup else 1.0


OPTIMIZERS: Mapping[str, Factory] = {
    "adam": adam,
    "adamw": adamw,
    "nadam": nadam,
    "radam": radam,
    "sgd": sgd,
}
SCHEDULES: Mapping[str, Factory] = {"constant": constant, "cosine": cosine}


def make_optimizer(spec: Spec, modules: Iterable[object]) -> Optimizer:
    """The optimiser that `spec` names, over the parameters of those modules that have any."""
    networks = (module for module in modules if isinstance(module, nn.Module))
    parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
    factory, options = _chosen(OPTIMIZERS, "optimizer", spec)
    try:
        optimizer: Optimizer = factory(parameters, **options)
    except ValueError as error:
        raise UsageError(f"optimizer '{spec}' can't be made: {error}.") from error
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def make_schedule(spec: Spec) -> Schedule:
    """The learning-rate schedule that `spec` names."""
    factory, options = _chosen(SCHEDULES, "schedule", spec)
    schedule: Schedule = factory(**options)
    return schedule


def complete_optimizer(spec: Spec) -> Spec:
    """`spec` with every default of the optimiser filled in."""
    return _complete(OPTIMIZERS, "optimizer", spec)


def complete_schedule(spec: Spec) -> Spec:
    """`spec` with every default of the schedule filled in."""
    return _complete(SCHEDULES, "schedule", spec)


def _chosen(
    choices: Mapping[str, Factory], kind: str, spec: Spec
) -> tuple[Factory, dict[str, Any]]:
    if spec.name not in choices:
        raise unknown(kind, spec.name, choices)
    factory = choices[spec.name]
    return factory, bind(factory, spec, f"{kind} '{spec.name}'")


def _complete(choices: Mapping[str, Factory], kind: str, spec: Spec) -> Spec:
    factory, _ = _chosen(choices, kind, spec)
    return complete(factory, spec, f"{kind} '{spec.name}'")
