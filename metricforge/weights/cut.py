"""A network cut below the first part that learns, so that what lies below runs once an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

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

        def replace(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (passed, *inputs[1:])

        with ExitStack() as patches:
            for name, shape in self.below.items():
                patches.enter_context(_instead(network.get_submodule(name), blank(shape)))
            hook = network.get_submodule(self.above).register_forward_pre_hook(replace)
            patches.callback(hook.remove)
            output: Tensor = network(blank(self.given))
            return output


def cut_of(network: nn.Module, images: Tensor, frozen_norms: bool) -> Cut | None:
    """Where a network can be cut below the first part that learns; None if it can't.

    It can if the rest needs nothing of what lies below but what passes the cut, and if that is a
    function of the image alone. Both are tried.

    Args:
        network: A network of which some parameters learn.
        images: The network's input for two images or more [B, C, H, W].
        frozen_norms: Whether batch norm keeps its statistics in training.
    """
    names, above = _places(network)
    below = [network.get_submodule(name) for name in names]
    if above is None or not any(True for module in below for _ in module.parameters()):
        return None
    modes = {module: module.training for module in network.modules()}
    try:
        devices = [images.device] if images.is_cuda else []
        with torch.no_grad(), torch.random.fork_rng(devices):
            return _tried(network, images, names, above, frozen_norms)
    # A network that others wrote raises whatever it wants where it can't be cut.
    except Exception:
        return None
    finally:
        for module, mode in modes.items():
            module.training = mode


def _tried(
    network: nn.Module, images: Tensor, names: list[str], above: str, frozen_norms: bool
) -> Cut | None:
    with evaluating(network):
        shapes: dict[str, list[Shape]] = {}
        with _watched(network, names, shapes):
            whole = network(images)
        below = {name: found[0] for name, found in shapes.items() if len(found) == 1}
        if len(below) < len(shapes):
            return None  # a module that runs twice has two outputs
        cut = Cut(above, below, tuple(images.shape[1:]), ())
        passed = cut.lower(network, images)
        cut = Cut(above, below, cut.given, tuple(passed.shape[1:]))
        if not _equal(cut.upper(network, passed), whole):
            return None
        if not _equal(cut.lower(network, images[:1]), passed[:1]):
            return None  # what passes depends on the other images of the batch
    network.train()
    if frozen_norms:
        for norm in norms(network):
            norm.eval()
    buffers = {buffer: buffer.clone() for buffer in network.buffers()}
    same = _equal(cut.lower(network, images), passed)
    changed = [buffer for buffer, kept in buffers.items() if not torch.equal(buffer, kept)]
    for buffer in changed:  # statistics of its own
        buffer.copy_(buffers[buffer])
    return cut if same and not changed else None


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
