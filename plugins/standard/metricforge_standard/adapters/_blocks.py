"""The blocks of a network, from its input to its output."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def blocks_of(network: nn.Module) -> list[list[str]]:
    """The names of all parameters of a network, block by block.

    A block is a module of several layers with weights, in the order in which the network has them;
    a `Sequential` or `ModuleList` of blocks is these. Layers between blocks belong to the one
    before. The first layers, and parameters of the network itself, are its stem, the first block.

    Args:
        network: The network.

    Returns:
        Names of parameters by block, the first block at the input.
    """
    inside = _unwrapped(network)
    prefix = next((f"{name}." for name, each in network.named_modules() if each is inside), "")
    prefix = "" if inside is network else prefix
    blocks: list[list[str]] = [[]]
    blocks[0] += [f"{prefix}{name}" for name, _ in inside.named_parameters(recurse=False)]
    for path, module in _units(inside, prefix):
        if _is_block(module):
            blocks.append([])
        blocks[-1] += [f"{path}{name}" for name, _ in module.named_parameters()]
    return [names for names in blocks if names]


def _unwrapped(network: nn.Module) -> nn.Module:
    """The network itself, of one that only holds it."""
    parts = [child for child in network.children() if any(True for _ in child.parameters())]
    has_own = any(True for _ in network.parameters(recurse=False))
    if len(parts) == 1 and not has_own and _is_block(parts[0]):
        return _unwrapped(parts[0])
    return network


def _units(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """The blocks and layers with weights, in order, each with the prefix of its names."""
    for name, child in module.named_children():
        path = f"{prefix}{name}."
        if isinstance(child, nn.Sequential | nn.ModuleList) and any(map(_is_block, child)):
            yield from _units(child, path)
        elif any(True for _ in child.parameters()):
            yield path, child


def _is_block(module: nn.Module) -> bool:
    """Whether a module has several layers with weights."""
    layers = (each for each in module.modules() if any(True for _ in each.parameters(False)))
    return sum(1 for _ in layers) > 1
