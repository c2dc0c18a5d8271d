"""Optimisers and learning-rate schedules by spec; their keyword-only parameters are options."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from metricforge.errors import UsageError, unknown
from metricforge.model import EmbeddingModel
from metricforge.spec import Factory, Spec, bind, complete

Parameters = Sequence[dict[str, Any]]
"""Groups of parameters, as torch's optimisers take them."""
Schedule = Callable[[float], float]
"""The share of the budget that is spent, 0 to 1, to the factor on the learning rate."""


def adam(params: Parameters, *, lr: float = 1e-3, weight_decay: float = 0.0) -> Optimizer:
    """Adam (Kingma 2015)."""
    return torch.optim.Adam(params, lr=lr, weight_decay=weight_decay, fused=_fused(params))


def adamw(params: Parameters, *, lr: float = 1e-3, weight_decay: float = 1e-4) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov 2019)."""
    return torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay, fused=_fused(params))


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


PARTS = ("backbone", "head", "loss")


def _fused(groups: Parameters) -> bool:
    """Whether one kernel can step all weights: a small network's many ones each cost a call."""
    weights = [weight for group in groups for weight in group["params"]]
    return all(w.is_floating_point() and w.device.type in ("cpu", "cuda") for w in weights)


def read_rates(text: str | None) -> dict[str, float]:
    """Factors on the learning rate by part, from "backbone=0.1,loss=100"; 1 where none is given.

    Raises UsageError for another part, and for what is no number of 0 or more.
    """
    rates = dict.fromkeys(PARTS, 1.0)
    for item in (text or "").split(",") if text else ():
        name, _, value = item.partition("=")
        if name not in rates:
            raise unknown("part in rates", name, PARTS)
        try:
            rates[name] = float(value)
        except ValueError:
            rates[name] = math.nan
        if not 0 <= rates[name] < math.inf:
            raise UsageError(f"rates has {item}; it takes factors, as in backbone=0.1,loss=100.")
    return rates


def parts_of(model: EmbeddingModel, loss: object) -> dict[str, object]:
    """What a training may change, by the names that rates give."""
    return {"backbone": model.backbone, "head": model.head, "loss": loss}


def make_optimizer(
    spec: Spec, parts: Mapping[str, object], rates: Mapping[str, float] | None = None
) -> Optimizer:
    """The optimiser that `spec` names, over the parameters of those parts that have any.

    Each part is a group by its name, with its factor of `rates` on the learning rate; one with
    the factor 0 does not learn at all.
    """
    factory, options = _chosen(OPTIMIZERS, "optimizer", spec)
    factors = rates or {}
    groups = []
    for name, module in parts.items():
        if not isinstance(module, nn.Module):
            continue
        if factors.get(name, 1.0) == 0:
            module.requires_grad_(False)
        if parameters := [p for p in module.parameters() if p.requires_grad]:
            groups.append({"params": parameters, "name": name})
    if not groups:
        raise UsageError("nothing is left to train: all of it is frozen.")
    try:
        optimizer: Optimizer = factory(groups, **options)
    except ValueError as error:
        raise UsageError(f"optimizer '{spec}' can't be made: {error}.") from error
    for group in optimizer.param_groups:
        group["lr"] *= factors.get(group["name"], 1.0)
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
