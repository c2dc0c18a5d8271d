"""The adapter `lora`."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from metricforge.errors import UsageError

_UP, _DOWN, _SCALE = "lora_up", "lora_down", "lora_scale"


class LoRA:
    """Adds a product of two small matrices to each linear and attention weight, and trains these.

    The weights of the backbone stay as they are. At the start the product is 0, so that the
    features are those of the backbone; merged, the model costs what the backbone does.

    Args:
        rank: Rank of a product, 1 or more.
        alpha: Factor on the products, times the rank; none: the rank, a factor of 1.
        layers: The layers, by shell patterns of their names with + between; none: all.

    Reference: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2022.
    """

    def __init__(self, *, rank: int = 8, alpha: float | None = None, layers: str = "") -> None:
        if rank < 1:
            raise UsageError(f"adapter 'lora' needs a rank of 1 or more, not {rank}.")
        self._rank = rank
        self._scale = 1.0 if alpha is None else alpha / rank
        self._patterns = [each for each in layers.split("+") if each]

    def adapt(self, backbone: nn.Module) -> None:
        """Freeze all weights but the products of an earlier one, and add the products."""
        for name, parameter in backbone.named_parameters():
            if not name.endswith((_UP, _DOWN)):
                parameter.requires_grad_(False)
        chosen = [
            (path, module, name)
            for path, module in backbone.named_modules()
            for name in _weights_of(module)
            if self._is_chosen(path)
        ]
        if not chosen:
            which = f"named {'+'.join(self._patterns)}" if self._patterns else "of any name"
            raise UsageError(
                f"adapter 'lora' finds no linear or attention layer {which} in this backbone; take "
                "another adapter, e.g. last-blocks."
            )
        for path, module, name in chosen:
            if _UP in module._parameters:
                raise UsageError(
                    f"two adapters 'lora' change the layer {path}: give each its own layers=...; "
                    "one of them may leave out a pattern."
                )
            _add_product(module, name, self._rank, self._scale)

    def merge(self, backbone: nn.Module) -> None:
        """Add the products to the weights, once and for all."""
        for module in backbone.modules():
            for name in _weights_of(module):
                if _UP in module._parameters:
                    _fold_product(module, name)

    def _is_chosen(self, path: str) -> bool:
        return not self._patterns or any(fnmatchcase(path, each) for each in self._patterns)


def _weights_of(module: nn.Module) -> Iterator[str]:
    """The name of the weight [O, I] of a linear or an attention layer."""
    if isinstance(module, nn.Linear):
        yield "weight"
    if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
        yield "in_proj_weight"


def _add_product(module: nn.Module, name: str, rank: int, scale: float) -> None:
    """Give a layer a product, the second matrix of which is 0, that is added to its weight."""
    weight = getattr(module, name)
    outputs, inputs = weight.shape
    down = nn.Parameter(weight.new_empty(rank, inputs))
    nn.init.kaiming_uniform_(down, a=5**0.5)
    module.register_parameter(_DOWN, down)
    module.register_parameter(_UP, nn.Parameter(weight.new_zeros(outputs, rank)))
    setattr(module, _SCALE, scale)
    layer: Any = type(module)
    module.__class__ = _with_product(layer, name)


def _fold_product(module: nn.Module, name: str) -> None:
    """Make a layer the plain one again, whose weight has the product added."""
    weight = getattr(module, name).detach()
    module.__class__ = type(module).__bases__[0]
    module._parameters[name] = nn.Parameter(weight, requires_grad=False)
    for each in (_UP, _DOWN, _SCALE):
        delattr(module, each)


@cache
def _with_product(layer: Any, name: str) -> Any:
    """A type of layer whose weight is its own with the product added; all names stay."""
    weight = property(partial(_sum, name=name))
    return type(f"LowRank{layer.__name__}", (layer,), {name: weight})


def _sum(module: nn.Module, name: str) -> Tensor:
    own, up, down = (module._parameters[each] for each in (name, _UP, _DOWN))
    assert own is not None, "it is a weight"
    assert up is not None, "it has a product"
    assert down is not None, "it has a product"
    return torch.addmm(own, up, down, alpha=getattr(module, _SCALE))
