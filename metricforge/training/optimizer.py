"""Optimisers and learning-rate schedules by spec; their keyword-only parameters are options."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
"""The fraction of the budget that is spent, 0 to 1, to the factor on the learning rate."""


def adam(params: Parameters, *, lr: float = 1e-3, weight_decay: float = 0.0) -> Optimizer:
    """Adam (Kingma 2015).

    Args:
        params: Groups of parameters.
        lr: Learning rate, above 0.
        weight_decay: Factor of the L2 penalty, 0 or more.
    """
    return torch.optim.Adam(params, lr=lr, weight_decay=weight_decay, fused=_fused(params))


def adamw(params: Parameters, *, lr: float = 1e-3, weight_decay: float = 1e-4) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov 2019).

    Args:
        params: Groups of parameters.
        lr: Learning rate, above 0.
        weight_decay: Fraction of a weight that a step removes, per unit of learning rate, 0 or
            more.
    """
    return torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay, fused=_fused(params))


def nadam(params: Parameters, *, lr: float = 1e-3, weight_decay: float = 0.0) -> Optimizer:
    """Adam with Nesterov momentum (Dozat 2016).

    Args:
        params: Groups of parameters.
        lr: Learning rate, above 0.
        weight_decay: Factor of the L2 penalty, 0 or more.
    """
    return torch.optim.NAdam(params, lr=lr, weight_decay=weight_decay)


def radam(params: Parameters, *, lr: float = 1e-3, weight_decay: float = 0.0) -> Optimizer:
    """Rectified Adam, which needs no warm-up (Liu 2020).

    Args:
        params: Groups of parameters.
        lr: Learning rate, above 0.
        weight_decay: Factor of the L2 penalty, 0 or more.
    """
    return torch.optim.RAdam(params, lr=lr, weight_decay=weight_decay)


def sgd(
    params: Parameters, *, lr: float = 0.05, momentum: float = 0.9, weight_decay: float = 1e-4
) -> Optimizer:
    """Stochastic gradient descent with Nesterov momentum.

    Args:
        params: Groups of parameters.
        lr: Learning rate, above 0.
        momentum: Factor of the previous updates, 0 or more; 0: plain gradient descent.
        weight_decay: Factor of the L2 penalty, 0 or more.
    """
    nesterov = momentum > 0
    return torch.optim.SGD(
        params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
    )


def cosine(*, warmup: float = 0.05, end: float = 0.0) -> Schedule:
    """A linear rise over `warmup`, then half a cosine down to `end`.

    Args:
        warmup: Fraction of the whole training, 0 to 1: 0.05 is its first twentieth.
        end: Factor on the learning rate, 0 to 1: with 0.1 the last steps have a tenth of it.
    """
    _refuse_beyond("warmup is a fraction of the training", warmup)
    _refuse_beyond("end is a factor on the learning rate", end)

    def factor(spent: float) -> float:
        if spent < warmup:
            return spent / warmup
        fall = (spent - warmup) / max(1 - warmup, 1e-9)
        return end + (1 - end) * (1 + math.cos(math.pi * fall)) / 2

    return factor


def constant(*, warmup: float = 0.0) -> Schedule:
    """A linear rise over `warmup`, then the same rate.

    Args:
        warmup: Fraction of the whole training, 0 to 1.
    """
    _refuse_beyond("warmup is a fraction of the training", warmup)
    return lambda spent: min(1.0, spent / warmup) if warmup else 1.0


def step(*, every: float = 0.4, factor: float = 0.1, warmup: float = 0.0) -> Schedule:
    """The rate is multiplied by `factor` each time that another `every` of the training is spent.

    With 20 epochs, every=0.4 is eight of them, so that with factor=0.1 the last four have a
    hundredth of the rate.

    Args:
        every: Fraction of the whole training, above 0, to 1.
        factor: Factor on the learning rate, 0 to 1.
        warmup: Fraction of the whole training, 0 to 1, over which the rate rises linearly.
    """
    _refuse_beyond("factor is a factor on the learning rate", factor)
    if not 0 < every <= 1:
        raise UsageError(
            f"in a schedule every is a fraction of the training, above 0, not {every}."
        )
    rise = constant(warmup=warmup)
    # The quotient of two decimal fractions may be rounded below the whole number that it is.
    return lambda spent: rise(spent) * factor ** math.floor(spent / every + 1e-9)


@dataclass(frozen=True)
class Plateau:
    """The schedule `plateau`: a rise, and a factor that is reduced when the score stops improving.

    The factor and the epoch that it counts from are the training's (`TrainState`).
    """

    patience: int
    factor: float
    end: float
    rise: Schedule

    def __call__(self, spent: float) -> float:
        """The factor on the learning rate while scores improve."""
        return self.rise(spent)

    def reduced(self, rate: float) -> float:
        """The new factor on the learning rate after `patience` epochs without improvement."""
        return max(self.end, rate * self.factor)


def plateau(
    *, patience: int = 5, factor: float = 0.1, end: float = 0.0, warmup: float = 0.0
) -> Schedule:
    """The rate is multiplied by `factor` after `patience` epochs without a better score.

    The score is the one on validation classes that selects the epoch; a score equal to the best is
    not better. The count of epochs then starts again.

    Args:
        patience: Epochs without a better score, 1 or more.
        factor: Factor on the learning rate, 0 to 1.
        end: Least factor in total, 0 to 1.
        warmup: Fraction of the whole training, 0 to 1, over which the rate rises linearly.
    """
    if patience < 1:
        raise UsageError(
            f"in a schedule patience is a number of epochs, 1 or more, not {patience}."
        )
    _refuse_beyond("factor is a factor on the learning rate", factor)
    _refuse_beyond("end is a factor on the learning rate", end)
    return Plateau(patience, factor, end, constant(warmup=warmup))


OPTIMIZERS: Mapping[str, Factory] = {
    "adam": adam,
    "adamw": adamw,
    "nadam": nadam,
    "radam": radam,
    "sgd": sgd,
}
SCHEDULES: Mapping[str, Factory] = {
    "constant": constant,
    "cosine": cosine,
    "plateau": plateau,
    "step": step,
}


PARTS = ("backbone", "head", "loss")


def _refuse_beyond(what: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UsageError(f"in a schedule {what}, from 0 to 1, not {value}.")


def _fused(groups: Parameters) -> bool:
    """Whether one kernel can step all weights: otherwise each weight costs a call."""
    weights = [weight for group in groups for weight in group["params"]]
    return all(w.is_floating_point() and w.device.type in ("cpu", "cuda") for w in weights)


def read_rates(text: str | None) -> dict[str, float]:
    """Factors on the learning rate by part, from "backbone=0.1,loss=100"; 1 for other parts.

    Raises UsageError for another part, a part given twice, and a factor that is not 0 or more.
    """
    rates = dict.fromkeys(PARTS, 1.0)
    given: set[str] = set()
    for item in (text or "").split(",") if text else ():
        name, _, value = item.partition("=")
        if name not in rates:
            raise unknown("part in rates", name, PARTS)
        if name in given:
            raise UsageError(f"rates has {name} twice: {text}.")
        given.add(name)
        try:
            rates[name] = float(value)
        except ValueError:
            rates[name] = math.nan
        if not 0 <= rates[name] < math.inf:
            raise UsageError(f"rates has {item}; it takes factors, as in backbone=0.1,loss=100.")
    return rates


def parts_of(model: EmbeddingModel, loss: object) -> dict[str, object]:
    """The parts that a training may change, by their names in `rates`."""
    return {"backbone": model.backbone, "head": model.head, "loss": loss}


def make_optimizer(
    spec: Spec, parts: Mapping[str, object], rates: Mapping[str, float] | None = None
) -> Optimizer:
    """The optimiser that `spec` names, over the parameters of those parts that have any.

    Each part is a group by its name, with its factor of `rates` on the learning rate; a part with
    the factor 0 does not learn. Raises UsageError for a factor on a part without parameters.
    """
    factory, options = _chosen(OPTIMIZERS, "optimizer", spec)
    if not 0 < options["lr"] < math.inf:
        raise UsageError(f"lr of optimizer '{spec.name}' must be above 0, not {options['lr']}.")
    factors = rates or {}
    groups = []
    for name, module in parts.items():
        every = module.parameters() if isinstance(module, nn.Module) else ()
        parameters = [p for p in every if p.requires_grad]
        factor = factors.get(name, 1.0)
        if factor != 1 and not parameters:
            raise UsageError(f"rates has {name}={factor:g}, and this {name} has no parameters.")
        if factor == 0:
            for parameter in parameters:
                parameter.requires_grad_(False)
        elif parameters:
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
