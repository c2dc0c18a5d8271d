"""Every loss and miner of pytorch-metric-learning by name; the only file that imports it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metricforge.contracts import Pairs, Triplets, Tuples
from metricforge.errors import UsageError
from metricforge_standard._generators import lent

Factory = Callable[..., Any]

# PML's names of the core's offers, for classes that require them.
CORE_OFFERS = {"num_classes": "num_classes", "embedding_size": "dim", "descriptors_dim": "dim"}
# Options that no spec can write: other losses and miners, functions.
UNWRITABLE = frozenset({"loss", "losses", "miner", "mat_based_loss"})
REFUSED = {
    "CrossBatchMemory": "the sampler xbm remembers embeddings",
    "DynamicSoftMarginLoss": "it keeps the graph of its first step, so that the second fails",
    "EmbeddingsAlreadyPackagedAsTriplets": "it takes batches of triplets in a layout of its own",
    "ManifoldLoss": "it takes no labels",
    "MultipleLosses": "the loss sum adds up several, e.g. sum:a=supcon,b=multi-similarity",
    "SmoothAPLoss": "it fails for a batch whose classes differ in size",
    "VICRegLoss": "it takes no labels",
}
"""Classes that can't be trained here, each with the reason or with what does the same."""

# They compare the whole batch in their own way, and refuse chosen tuples.
WHOLE_BATCH = frozenset({"InstanceLoss", "P2SGradLoss", "PNPLoss", "RankedListLoss"})


class Loss(nn.Module):
    """A PML loss: embeddings [B, D], labels [B] and tuples to a scalar."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        whole = type(loss).__name__ in WHOLE_BATCH
        self.accepts = (None,) if whole else (None, Pairs, Triplets)
        self.loss = loss
        margin = getattr(loss, "margin", None)
        self.margin = float(margin) if isinstance(margin, int | float) else None

    def forward(self, embeddings: Tensor, labels: Tensor, tuples: Tuples | None) -> Tensor:
        indices = _indices(tuples, labels)
        if indices is not None and not any(map(len, indices)):
            # Without tuples some of its losses compare all images.
            return embeddings[:0].sum()
        value: Tensor = self.loss(embeddings, labels, indices)
        return value


class Miner:
    """A PML miner; its kind is that of its tuples for a small batch."""

    def __init__(self, miner: nn.Module) -> None:
        self.miner = miner
        rng = torch.Generator().manual_seed(0)
        with lent(rng.device) as seed:
            seed(0)
            tuples = miner(torch.randn(12, 4, generator=rng), torch.arange(12) // 3)
        self.kind = Triplets if len(tuples) == 3 else Pairs

    def __call__(self, embeddings: Tensor, labels: Tensor, rng: np.random.Generator) -> Tuples:
        # Some of PML's miners draw from torch's global generator: it is lent to them, seeded.
        with lent(embeddings.device) as seed:
            seed(int(rng.integers(2**62)))
            tuples = self.miner(embeddings, labels)
        if len(tuples) == 3:
            return Triplets(*tuples)
        anchor1, positive, anchor2, negative = tuples
        same = torch.arange(len(anchor1) + len(anchor2), device=labels.device) < len(anchor1)
        return Pairs(torch.cat([anchor1, anchor2]), torch.cat([positive, negative]), same)


class _Family(Mapping[str, Factory]):
    """The classes of one PML module that a spec can build, each as a factory of `wrapper`."""

    def __init__(self, module: str, base: str, wrapper: Factory) -> None:
        self._module, self._base, self._wrapper = module, base, wrapper

    def __getitem__(self, name: str) -> Factory:
        if name in REFUSED:
            raise UsageError(f"'pml.{name}' is not offered: {REFUSED[name]}.")
        return _factory(self._classes()[name], self._wrapper)

    def __contains__(self, name: object) -> bool:
        return name in self._classes()

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes())

    def __len__(self) -> int:
        return len(self._classes())

    def _classes(self) -> dict[str, type[nn.Module]]:
        module = importlib.import_module(f"pytorch_metric_learning.{self._module}")
        base: type[nn.Module] = getattr(module, self._base)
        return {
            name: member
            for name, member in sorted(vars(module).items())
            if inspect.isclass(member)
            and issubclass(member, base)
            and not name.startswith("Base")
            and _buildable(member)
        }


def _factory(component: type[nn.Module], wrapper: Factory) -> Factory:
    parameters = _parameters(component)
    offers = {
        theirs: ours for theirs, ours in CORE_OFFERS.items() if _required(parameters.get(theirs))
    }
    options = [p for p in map(_option, parameters.values()) if p is not None]
    options = [o for o in options if _is_settable(component, offers, o)]

    def build(**arguments: Any) -> Any:
        keywords = {theirs: arguments[ours] for theirs, ours in offers.items()}
        # Only options that differ from the default: a subclass may set an inherited one itself.
        chosen = {o.name: arguments.get(o.name, o.default) for o in options}
        keywords |= {o.name: chosen[o.name] for o in options if chosen[o.name] != o.default}
        try:
            return wrapper(component(**keywords))
        except (TypeError, ValueError, AssertionError) as error:
            if not any(o.name in keywords for o in options):
                raise
            reason = " ".join(str(error).split()).rstrip(".")
            raise UsageError(
                f"pytorch-metric-learning's {component.__name__} refuses these options: {reason}."
            ) from error

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature(
        [*(inspect.Parameter(n, kind) for n in offers.values()), *options]
    )
    build.__name__ = build.__qualname__ = component.__name__
    build.__doc__ = component.__doc__ or f"pytorch-metric-learning's {component.__name__}."
    build.__wrapped__ = component  # type: ignore[attr-defined]
    build.__signature__ = signature  # type: ignore[attr-defined]
    return build


def _is_settable(component: type, offers: Mapping[str, str], option: inspect.Parameter) -> bool:
    """Whether an option can be passed: some subclasses fix what their ancestors take."""
    if option.name in inspect.signature(component).parameters or _required(option):
        return True
    try:
        with lent(torch.device("cpu")):  # some draw their weights
            component(**dict.fromkeys(offers, 4), **{option.name: option.default})
    except TypeError as error:
        return "multiple values" not in str(error)
    except Exception:  # any other complaint is for the one who sets it
        return True
    return True


def _parameters(component: type) -> dict[str, inspect.Parameter]:
    """The constructor's parameters, with those that its ancestors take through **kwargs.

    A subclass supplies what its ancestors require, except for the core's offers.
    """
    collected: dict[str, inspect.Parameter] = {}
    inherited = False
    for ancestor in component.__mro__:
        if "__init__" not in vars(ancestor) or ancestor in (nn.Module, object):
            continue
        own = list(inspect.signature(vars(ancestor)["__init__"]).parameters.values())[1:]
        for parameter in own:
            if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
                continue
            if not inherited or not _required(parameter) or parameter.name in CORE_OFFERS:
                collected.setdefault(parameter.name, parameter)
        inherited = True
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in own):
            break
    return collected


def _option(parameter: inspect.Parameter) -> inspect.Parameter | None:
    """The parameter as a keyword-only option; None if the core supplies it or no spec can."""
    kind = _type(parameter.default)
    if kind is None or (_required(parameter) and parameter.name in CORE_OFFERS):
        return None
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=kind)


def _required(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and parameter.default is inspect.Parameter.empty


def _type(default: Any) -> Any:
    """The type of an option, from its default; None when a spec can't express it."""
    if isinstance(default, bool):
        return bool
    if default is inspect.Parameter.empty or isinstance(default, int):
        return int | float
    if isinstance(default, float):
        return float
    return int | str if isinstance(default, str) else None


def _buildable(component: type) -> bool:
    return component.__name__ not in REFUSED and not any(
        _required(p) and p.name in UNWRITABLE for p in _parameters(component).values()
    )


def _indices(tuples: Tuples | None, labels: Tensor) -> tuple[Tensor, ...] | None:
    """Our tuples as PML's; for None PML compares all images in its own way."""
    if tuples is None:
        return None
    tuples = tuples.listed(labels)
    if isinstance(tuples, Triplets):
        return tuple(tuples)
    anchor, other, same = tuples
    return anchor[same], other[same], anchor[~same], other[~same]


LOSSES = _Family("losses", "BaseMetricLossFunction", Loss)
"""Any loss of pytorch-metric-learning that options can build, as pml.NAME."""

MINERS = _Family("miners", "BaseMiner", Miner)
"""Any miner of pytorch-metric-learning that options can build, as pml.NAME."""
