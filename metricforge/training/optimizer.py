"""The parts of a training that learn: their learning rates, and the optimizer over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from metricforge.contracts import Parameters
from metricforge.errors import PluginError, UsageError, unknown
from metricforge.model import EmbeddingModel
from metricforge.plugin_errors import broken, described

PARTS = ("backbone", "head", "loss")


def read_rates(text: str | None) -> dict[str, float]:
    """Factors on the learning rate by part, from "backbone=0.1,loss=100"; 1 for other parts.

    Raises UsageError for another part, a repeated part, and a factor that is not 0 or more.
    """
    rates = dict.fromkeys(PARTS, 1.0)
    names: set[str] = set()
    for item in (text or "").split(",") if text else ():
        name, _, value = item.partition("=")
        if name not in rates:
            raise unknown("part in rates", name, PARTS)
        if name in names:
            raise UsageError(f"rates has {name} twice: {text}.")
        names.add(name)
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


def has_buffers(module: nn.Module) -> bool:
    """Whether a module has tensors that no step changes."""
    return next(module.buffers(), None) is not None


def make_optimizer(
    build: Callable[[Parameters], Optimizer],
    parts: Mapping[str, object],
    rates: Mapping[str, float] | None = None,
    own: Mapping[Tensor, float] | None = None,
) -> Optimizer:
    """The optimizer over the parameters of those parts that have any.

    Each part is a group by its name, with its factor of `rates` on the learning rate; a part with
    the factor 0 does not learn. Parameters with factors of their `own` are groups of the part's
    name, one for each factor. Raises UsageError for a factor on a part without parameters and a
    learning rate that is not above 0, PluginError for an optimizer that loses a group.
    """
    factors = rates or {}
    groups: list[dict[str, Any]] = []
    of_groups: list[float] = []
    for name, module in parts.items():
        every = module.parameters() if isinstance(module, nn.Module) else ()
        parameters = [p for p in every if p.requires_grad]
        factor = factors.get(name, 1.0)
        # One with buffers alone, e.g. a file that another program runs, is frozen already.
        is_frozen = factor == 0 and isinstance(module, nn.Module) and has_buffers(module)
        if factor != 1 and not parameters and not is_frozen:
            raise UsageError(f"rates has {name}={factor:g}, and this {name} has no parameters.")
        if factor == 0:
            for parameter in parameters:
                parameter.requires_grad_(False)
            continue
        by_factor: dict[float, list[nn.Parameter]] = {}
        for parameter in parameters:
            by_factor.setdefault((own or {}).get(parameter, 1.0), []).append(parameter)
        for each, members in by_factor.items():
            groups.append({"params": members, "name": name})
            of_groups.append(factor * each)
    if not groups:
        raise UsageError("nothing is left to train: all of it is frozen.")
    names = [group["name"] for group in groups]
    optimizer = build(groups)
    check_groups(optimizer, names)
    for group, factor in zip(optimizer.param_groups, of_groups, strict=True):
        group["lr"] *= factor
        group["initial_lr"] = group["lr"]
    return optimizer


def check_groups(optimizer: Optimizer, names: list[str]) -> None:
    """Refuse anything but an optimizer of these groups, each with a rate above 0."""
    if not isinstance(optimizer, Optimizer):
        raise PluginError(
            f"an optimizer must be a torch.optim.Optimizer, not {type(optimizer).__name__}."
        )
    actual = [str(group.get("name")) for group in optimizer.param_groups]
    if actual != names:
        contract = f"must keep the groups {', '.join(names)} with their names"
        raise broken(optimizer, contract, ", ".join(actual))
    for options in (optimizer.defaults, *optimizer.param_groups):
        rate = options.get("lr")
        if not isinstance(rate, int | float):
            contract = "must have a number as its option lr and in each group"
            raise broken(optimizer, contract, described(rate))
        if not 0 < rate < math.inf:
            raise UsageError(f"lr of {type(optimizer).__name__} must be above 0, not {rate}.")
