"""The optimizers `adam`, `adamw`, `nadam`, `radam` and `sgd`: torch's, with the usual options."""

from __future__ import annotations

from typing import Any

from torch import optim
from torch.optim import Optimizer

from metricforge.contracts import Parameters
from metricforge.errors import UsageError


def adam(params: Parameters, *, lr: float = 1e-3, weight_decay: float = 0.0) -> Optimizer:
    """Adam (Kingma 2015).

    Args:
        params: Groups of parameters.
        lr: Learning rate, above 0.
        weight_decay: Factor of the L2 penalty, 0 or more.
    """
    return _made(optim.Adam, params, lr=lr, weight_decay=weight_decay, fused=_fused(params))


def adamw(params: Parameters, *, lr: float = 1e-3, weight_decay: float = 1e-4) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov 2019).

    Args:
        params: Groups of parameters.
        lr: Learning rate, above 0.
        weight_decay: Fraction of a weight that a step removes, per unit of learning rate, 0 or
            more.
    """
    return _made(optim.AdamW, params, lr=lr, weight_decay=weight_decay, fused=_fused(params))


def nadam(params: Parameters, *, lr: float = 1e-3, weight_decay: float = 0.0) -> Optimizer:
    """Adam with Nesterov momentum (Dozat 2016).

    Args:
        params: Groups of parameters.
        lr: Learning rate, above 0.
        weight_decay: Factor of the L2 penalty, 0 or more.
    """
    return _made(optim.NAdam, params, lr=lr, weight_decay=weight_decay)


def radam(params: Parameters, *, lr: float = 1e-3, weight_decay: float = 0.0) -> Optimizer:
    """Rectified Adam, which needs no warm-up (Liu 2020).

    Args:
        params: Groups of parameters.
        lr: Learning rate, above 0.
        weight_decay: Factor of the L2 penalty, 0 or more.
    """
    return _made(optim.RAdam, params, lr=lr, weight_decay=weight_decay)


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
    options = {"momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
    return _made(optim.SGD, params, lr=lr, **options)


def _made(optimizer: type[Optimizer], params: Parameters, **options: Any) -> Optimizer:
    try:
        return optimizer(params, **options)
    except ValueError as error:
        raise UsageError(f"the optimizer {optimizer.__name__} can't be made: {error}.") from error


def _fused(groups: Parameters) -> bool:
    """Whether one kernel can step all weights: otherwise each weight costs a call."""
    weights = [weight for group in groups for weight in group["params"]]
    return all(w.is_floating_point() and w.device.type in ("cpu", "cuda") for w in weights)
