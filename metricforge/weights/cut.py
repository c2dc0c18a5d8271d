"""A network cut below the first part that learns, so that what lies below runs once an image."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from metricforge.runtime.evaluation_mode import evaluating
from metricforge.runtime.normalization import norms

Shape: TypeAlias = tuple[int, ...]

_CLOSE = 1e-4


class _Reached(BaseException):
    """The cut is reached, and nothing above it need run. A network catches Exceptions at most."""


@dataclass(frozen=True)
class Cut:
    """Where a network is cut.

    Args:
        above: Name of the first module that learns or has one that does. Its input is cut.
        below: The shape, without the batch, of what each module below puts out, by its name.
        given: The shape, without the batch, of the network's input.
        shape: The shape, without the batch, of what passes the cut.
    """

    above: str
    below: Mapping[str, Shape]
    given: Shape
    shape: Shape

    @property
    def size(self) -> int:
        """The bytes of what passes the cut, of one image."""
        return 4 * prod(self.shape)

    def lower(self, network: nn.Module, images: Tensor) -> Tensor:
        """What passes the cut [B, ...] for the network's input [B, C, H, W]."""
        passed: list[Tensor] = []

        def stop(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            passed.append(inputs[0])
            raise _Reached

        hook = network.get_submodule(self.above).register_forward_pre_hook(stop)
        try:
            network(images)
        except _Reached:
            return passed[0]
        finally:
            hook.remove()
        raise RuntimeError(f"the network never calls {self.above}")

    def upper(self, network: nn.Module, passed: Tensor) -> Tensor:
        """The network's output [B, F] for what passed the cut [B, ...].

        The modules below give NaN in place of an output that nothing may read.
        """

        def blank(shape: Shape) -> Tensor:
            return passed.new_full((), torch.nan).expand(len(passed), *shape)

        def exchange(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (passed, *inputs[1:])

        with ExitStack() as patches:
            for name, shape in self.below.items():
                patches.enter_context(_instead(network.get_submodule(name), blank(shape)))
            hook = network.get_submodule(self.above).register_forward_pre_hook(exchange)
            patches.callback(hook.remove)
            output: Tensor = network(blank(self.given))
            return output


def cut_of(network: nn.Module, images: Tensor, frozen_norms: bool) -> Cut | None:
    """Where a network can be cut below the first part that learns; None if it can't.

    It can if nothing below learns, draws random numbers or keeps statistics, if what passes is a
    function of the image alone, and if the rest needs nothing else of the image. All this is tried.

    Args:
        network: A network of which some parameters learn.
        images: The network's input for two images or more [B, C, H, W]; the more, the surer.
        frozen_norms: Whether batch norm keeps its statistics in training.
    """
    names, above = _places(network)
    below = [network.get_submodule(name) for name in names]
    if above is None or not any(True for module in below for _ in module.parameters()):
        return None
    modes = {module: module.training for module in network.modules()}
    buffers = {buffer: buffer.clone() for buffer in network.buffers()}
    try:
        with _drawing(images.device) as has_drawn:
            evaluated = _evaluated(network, images, names, above)
            if evaluated is None:
                return None
            cut, passed = evaluated
            trained = _in_training(network, images, cut, frozen_norms)
            fixed = not trained.requires_grad and _equal(trained, passed)
            return cut if fixed and not has_drawn() and _unchanged(buffers) else None
    # A network that others wrote raises whatever it wants where it can't be cut.
    except Exception:
        return None
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for buffer, kept in buffers.items():
                buffer.copy_(kept)


@torch.no_grad()
def _evaluated(
    network: nn.Module, images: Tensor, names: list[str], above: str
) -> tuple[Cut, Tensor] | None:
    """The cut and what passes it, if both parts give in evaluation what the whole gives."""
    below = [each for name in names for each in network.get_submodule(name).modules()]
    if any(each._forward_hooks or each._forward_pre_hooks for each in below):
        return None  # somebody looks at what is put out in there
    with evaluating(network):
        shapes: dict[str, list[Shape]] = {}
        with _watched(network, names, shapes):
            whole = network(images)
        if any(len(found) > 1 for found in shapes.values()):
            return None  # a module that runs twice has two outputs
        given = tuple(images.shape[1:])
        cut = Cut(above, {name: found[0] for name, found in shapes.items()}, given, ())
        passed = cut.lower(network, images)
        cut = replace(cut, shape=tuple(passed.shape[1:]))
        alone = cut.lower(network, images[:1])  # without the other images of the batch
        same = _equal(cut.upper(network, passed), whole) and _equal(alone, passed[:1])
        return (cut, passed) if same else None


def _in_training(network: nn.Module, images: Tensor, cut: Cut, frozen_norms: bool) -> Tensor:
    """What passes the cut in training, with its graph if a parameter that learns has part in it."""
    network.train()
    if frozen_norms:
        for norm in norms(network):
            norm.eval()
    return cut.lower(network, images)


@contextmanager
def _drawing(device: torch.device) -> Iterator[Callable[[], bool]]:
    """Gives what tells whether random numbers were drawn; afterwards it is as if none were."""

    def states() -> tuple[Any, Any, list[Tensor]]:
        tensors = [torch.get_rng_state()]
        if device.type == "cuda":
            tensors.append(torch.cuda.get_rng_state(device))
        return random.getstate(), np.random.get_state(), tensors

    def seen() -> list[Any]:
        python, (_, keys, *rest), tensors = states()
        return [python, keys.tobytes(), rest, *(each.numpy().tobytes() for each in tensors)]

    python, numpy, tensors = states()
    before = seen()
    try:
        yield lambda: seen() != before
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(tensors[0])
        for state in tensors[1:]:
            torch.cuda.set_rng_state(state, device)


def _unchanged(buffers: Mapping[Tensor, Tensor]) -> bool:
    """Whether no statistics of the network have changed."""
    return all(torch.equal(buffer, kept) for buffer, kept in buffers.items())


def _places(network: nn.Module) -> tuple[list[str], str | None]:
    """The names of the modules below the first that learns, and of that, as deep as it goes."""
    below: list[str] = []
    inside, prefix, above = network, "", None
    while not any(parameter.requires_grad for parameter in inside.parameters(recurse=False)):
        children = list(inside.named_children())
        learning = (number for number, (_, child) in enumerate(children) if _learns(child))
        first = next(learning, None)
        if first is None:
            break
        below += [f"{prefix}{name}" for name, _ in children[:first]]
        name, child = children[first]
        above = f"{prefix}{name}"
        holds_it = len(children) == 1 and not isinstance(inside, nn.Sequential)
        if not (holds_it or isinstance(child, nn.Sequential)):
            break  # a block, which may add its input to its output
        inside, prefix = child, f"{above}."
    return below, above


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


@contextmanager
def _watched(
    network: nn.Module, names: list[str], shapes: dict[str, list[Shape]]
) -> Iterator[None]:
    """Within, the shapes of what the modules put out, without the batch, are noted."""

    def noting(name: str) -> Callable[..., None]:
        def note(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            shapes.setdefault(name, []).append(tuple(output.shape[1:]))

        return note

    with ExitStack() as hooks:
        for name in names:
            hook = network.get_submodule(name).register_forward_hook(noting(name))
            hooks.callback(hook.remove)
        yield


@contextmanager
def _instead(module: nn.Module, output: Tensor) -> Iterator[None]:
    """Within, a module gives `output`, whatever it gets."""
    own = vars(module)
    had = own.get("forward")
    own["forward"] = lambda *_, **__: output
    try:
        yield
    finally:
        del own["forward"]
        if had is not None:
            own["forward"] = had


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, _CLOSE, _CLOSE)
