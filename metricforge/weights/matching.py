"""Weights of another program fitted to a network: names matched, and what differs reported."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from metricforge.errors import ArtefactError, UsageError, few
from metricforge.weights.reading import Weights, parsed

# Counts of batches, which older files do not have and no embedding depends on.
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class _Alignment:
    """Which tensor of a file is which of a network: their names without these prefixes agree."""

    own: str
    """The prefix of every name of the network, e.g. "network."."""
    other: str
    """The prefix in the file, e.g. "module.backbone."."""

    def name_of(self, name: str) -> str:
        """The name in the file of a tensor of the network."""
        return self.other + name.removeprefix(self.own)


def start_from(module: nn.Module, weights: Weights, what: str) -> list[str]:
    """Load weights into a network whose tensors may have a prefix, and lack a last layer.

    A first convolution of another number of channels gets the mean over the file's channels, as
    many times as it has channels, so that a grey image gives what its three equal channels would.

    Args:
        module: The network.
        weights: The weights.
        what: Name of the network in errors and notes, e.g. "backbone timm".

    Returns:
        Notes on the prefix, the tensors that are not used and the channels.

    Raises:
        ArtefactError: Tensors are missing, have other shapes, or are of a larger network of the
            same family; the error names them.
        UsageError: The network has no weights.
    """
    expected = module.state_dict()
    if not expected:
        raise UsageError(f"{what} has no weights: leave out its option weights.")
    alignment = _alignment(expected, weights, what)
    chosen: dict[str, Tensor] = {}
    missing, unfit, broken, notes = [], [], [], []
    first = next((name for name, tensor in expected.items() if tensor.ndim == 4), None)
    for name, tensor in expected.items():
        source = weights.tensors.get(alignment.name_of(name))
        if source is None:
            if not name.endswith(COUNTER):
                missing.append(alignment.name_of(name))
            continue
        if name == first and _differs_in_channels(source, tensor):
            notes.append(f"the first layer takes {tensor.shape[1]} channels for {source.shape[1]}")
            source = _with_channels(source, tensor.shape[1])
        if source.shape != tensor.shape or _kind(source) != _kind(tensor):
            unfit.append(f"{name} {_shown(source)}, not {_shown(tensor)}")
        if source.is_floating_point() and not source.isfinite().all():
            broken.append(name)
        chosen[name] = source
    used = {alignment.name_of(name) for name in expected}
    unused = [name for name in weights.tensors if name not in used]
    surplus = _surplus(unused, used, alignment)
    reasons = {
        "lack": missing,
        "have other shapes or types:": unfit,
        "are of a larger network, with": surplus,
        "are NaN or infinite in": broken,
    }
    for reason, names in reasons.items():
        if names:
            raise ArtefactError(
                f"the weights in {weights.source} don't fit {what}: they {reason} {few(names)}"
                f" ({len(names)} in all)."
            )
    module.load_state_dict(chosen, strict=False)
    if alignment.other != alignment.own and alignment.other:
        notes.insert(0, f"their names begin with '{alignment.other}'")
    if unused:
        notes.append(
            f"not used: {few(unused)}" + (f" ({len(unused)} tensors)" if unused[5:] else "")
        )
    start = f"{what} starts from {len(chosen)} tensors of {weights.source}"
    return ["; ".join([start, *notes]) + "."]


def _alignment(expected: Mapping[str, Tensor], weights: Weights, what: str) -> _Alignment:
    """The prefixes by which most names agree; ArtefactError if several parts agree equally."""
    own_prefixes = dict.fromkeys(("", _common_prefix(list(expected))))
    scores: dict[_Alignment, int] = {}
    for own in own_prefixes:
        names = [name.removeprefix(own) for name in expected]
        for other in _prefixes(names, weights.tensors):
            scores[_Alignment(own, other)] = sum(other + name in weights.tensors for name in names)
    most = max(scores.values(), default=0)
    if most == 0:
        raise ArtefactError(
            f"the weights in {weights.source} are not of {what}: no name of a tensor agrees (it "
            f"has {few(list(weights.tensors))}; the network has {few(list(expected))})."
        )
    first = next(iter(expected))
    best = {a.name_of(first): a for a, score in scores.items() if score == most}
    if len(best) > 1:
        parts = few([f"'{alignment.other}'" for alignment in best.values()])
        raise ArtefactError(
            f"{weights.source} has several networks that fit {what} ({parts}); save the one that "
            "you want in a file of its own."
        )
    return next(iter(best.values()))


def _common_prefix(names: list[str]) -> str:
    """The dotted prefix of all names, e.g. "network."."""
    first = names[0].partition(".")[0] + "." if names else ""
    return first if all(name.startswith(first) for name in names) else ""


def _prefixes(names: list[str], tensors: Mapping[str, Tensor]) -> list[str]:
    """The prefixes with which a few names of the network occur in a file."""
    anchors = [names[index] for index in (0, len(names) // 2, -1)]
    return list(
        dict.fromkeys(
            name.removesuffix(anchor)
            for anchor in anchors
            for name in tensors
            if name == anchor or name.endswith(f".{anchor}")
        )
    )


def _surplus(unused: list[str], used: set[str], alignment: _Alignment) -> list[str]:
    """The tensors by which the file's network is larger than this one, last layers apart.

    They lie within a part that both have, e.g. `layer3.6` of a deeper network. A last layer that
    was removed may lie within one as well, but has no more than a weight and a bias.
    """

    def part(name: str) -> str:
        return name.removeprefix(alignment.other).partition(".")[0]

    shared = {part(name) for name in used}
    inside = [
        name
        for name in unused
        if name.startswith(alignment.other) and part(name) in shared and not name.endswith(COUNTER)
    ]
    return inside if len({name.rpartition(".")[0] for name in inside}) > 1 else []


def _differs_in_channels(source: Tensor, expected: Tensor) -> bool:
    same = [0, 2, 3]
    return source.ndim == 4 and source.shape[1] != expected.shape[1] and all(
        source.shape[axis] == expected.shape[axis] for axis in same
    )  # fmt: skip


def _with_channels(weight: Tensor, channels: int) -> Tensor:
    """A first convolution [O, C, h, w] for other channels, of equal response to equal channels."""
    mean = weight.mean(1, keepdim=True) * (weight.shape[1] / channels)
    return mean.expand(-1, channels, -1, -1).contiguous()


def _kind(tensor: Tensor) -> tuple[bool, bool, bool]:
    """The kind of a tensor's numbers, which loading would cast silently."""
    return tensor.is_floating_point(), tensor.is_complex(), tensor.dtype == torch.bool


def _shown(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f"{tensor.dtype}".removeprefix("torch.") + " "
    return f"{kind}{list(tensor.shape)}"


def load_exactly(
    module: nn.Module, content: bytes, source: Path, kept: Container[str] = ()
) -> None:
    """Load safetensors bytes into a module, which keeps its own tensors of the names in `kept`.

    ArtefactError names the keys or shapes that differ.
    """
    state = module.state_dict()
    tensors = {name: tensor for name, tensor in state.items() if name in kept}
    tensors |= parsed(content, str(source))
    for name, expected in state.items():
        actual = tensors.get(name, expected)
        if _kind(actual) != _kind(expected):
            raise ArtefactError(
                f"the weights in {source} are of another network: '{name}' is {actual.dtype}, not "
                f"{expected.dtype}."
            )
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise ArtefactError(f"the weights in {source} are of another network: {detail}") from error
