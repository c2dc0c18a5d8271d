"""Adapters applied to a backbone, and the hash of the backbone that they sit on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from metricforge.contracts import Adapter, Merging, Rating
from metricforge.errors import UsageError
from metricforge.plugin_errors import blaming, broken, name_of


def adapt(backbone: nn.Module, adapters: Sequence[Adapter]) -> None:
    """Apply adapters to a backbone, in order.

    UsageError if none of its weights learns then, or if one freezes all that the earlier ones left.
    """
    if adapters and not any(True for _ in backbone.parameters()):
        raise UsageError(
            "adapters are of a backbone with weights, and this has none: leave them out."
        )
    chosen: list[tuple[Adapter, set[nn.Parameter]]] = []  # of those that changed what learns
    for adapter in adapters:
        before = _learning(backbone)
        with blaming(adapter):
            adapter.adapt(backbone)
        after = _learning(backbone)
        for earlier, learning in chosen:
            if not learning & after:
                raise UsageError(
                    f"{name_of(adapter)} freezes all that {name_of(earlier)} trains; leave one of "
                    "them out."
                )
        if after != before:
            chosen.append((adapter, after - before or after))
    if adapters and not _learning(backbone):
        names = " and ".join(name_of(adapter) for adapter in adapters)
        raise UsageError(f"{names} leave nothing of this backbone to learn; take another backbone.")


def _learning(backbone: nn.Module) -> set[nn.Parameter]:
    return {parameter for parameter in backbone.parameters() if parameter.requires_grad}


def merge(backbone: nn.Module, adapters: Sequence[Adapter]) -> None:
    """Fold what adapters have added into the weights of a backbone."""
    for adapter in reversed(adapters):
        if isinstance(adapter, Merging):
            with blaming(adapter):
                adapter.merge(backbone)


def rates_of(backbone: nn.Module, adapters: Sequence[Adapter]) -> dict[Tensor, float]:
    """The factors on the learning rate that adapters give parameters of a backbone."""
    factors: dict[Tensor, float] = {}
    parameters = dict(backbone.named_parameters())
    for adapter in adapters:
        if not isinstance(adapter, Rating):
            continue
        with blaming(adapter):
            rates = adapter.rates(backbone)
        if not isinstance(rates, Mapping) or not rates.keys() <= parameters.keys():
            raise broken(adapter, "must rate parameters by their names", repr(rates))
        for name, factor in rates.items():
            if not isinstance(factor, int | float) or not 0 < factor < math.inf:
                raise broken(adapter, "must rate by factors above 0", repr(factor))
            factors[parameters[name]] = factors.get(parameters[name], 1.0) * factor
    return factors


def weights_hash(module: nn.Module) -> str:
    """A sha256 in hex of the names and values of all tensors of a module."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        plain = tensor.detach().cpu().contiguous().flatten()
        digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()
