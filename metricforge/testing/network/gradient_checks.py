"""Whether a network trains: its gradients exist, are finite and true."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metricforge.testing.checks import Broken, Skipped, raised
from metricforge.testing.network.fixture import Trial, warmed
from metricforge.testing.subject import Subject


def gradients_are_finite(subject: Subject, trial: Trial) -> str | None:
    """A training step gives a finite gradient to the input and to every weight."""
    network = trial.made(subject).train()
    inputs = trial.inputs(8).requires_grad_()
    out = network(inputs)
    if not out.requires_grad:
        raise Broken("gave an output without a graph; compute it without detach() and no_grad().")
    (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    # Frozen weights in front may stop the gradient on its way to the input; nothing else may.
    frozen = any(not weight.requires_grad for weight in network.parameters())
    if not frozen and (inputs.grad is None or not bool(inputs.grad.any())):
        raise Broken("gave its input no gradient; the layers before it would not learn.")
    idle = []
    for name, weight in network.named_parameters():
        if weight.grad is not None and not bool(weight.grad.isfinite().all()):
            raise Broken(f"gave {name} a gradient that is not finite.")
        if weight.requires_grad and weight.grad is None:
            idle.append(name)
    return f"no gradient for {', '.join(idle[:5])} ({len(idle)})." if idle else None


def gradient_is_the_derivative(subject: Subject, trial: Trial) -> None:
    """In float64 its gradient is that of its output, by a central difference."""
    try:
        network = _off_the_kinks(warmed(subject, trial).double())
        inputs = trial.inputs(2).double().requires_grad_()
        out = network(inputs)
    except RuntimeError as error:
        raise Skipped(f"it does not run in float64: {raised(error)}") from error
    leaves = [inputs, *(w for w in network.parameters() if w.requires_grad)]
    rng = torch.Generator().manual_seed(0)
    weights = torch.randn(out.shape, generator=rng, dtype=torch.float64)
    steps = [torch.randn(leaf.shape, generator=rng, dtype=torch.float64) for leaf in leaves]
    grads = torch.autograd.grad((out * weights).sum(), leaves, allow_unused=True)
    for what, chosen in (("its input", slice(0, 1)), ("its weights", slice(1, None))):
        pairs = [(g, s) for g, s in zip(grads[chosen], steps[chosen], strict=True) if g is not None]
        claimed = float(sum((g * s).sum() for g, s in pairs))
        measured, rough = _slope(network, leaves, steps, chosen, weights)
        if abs(measured - claimed) > 1e-3 * abs(measured) + 10 * rough + 1e-6:
            raise Broken(
                f"has a gradient for {what} that is not its derivative ({claimed:.6g} claimed, "
                f"{measured:.6g} measured); look for detach(), .data and own backward functions."
            )


def _off_the_kinks(network: nn.Module) -> nn.Module:
    """The network a small step away: weights that start at zero put ReLUs onto their kink."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape, generator=rng, dtype=weight.dtype), alpha=1e-2)
    return network


def _slope(
    network: Any, leaves: list[Tensor], steps: list[Tensor], chosen: slice, weights: Tensor
) -> tuple[float, float]:
    """The slope along the steps by central differences, and its roughness.

    The function is rough where two widths, or the two sides, disagree: at the kink of a ReLU or of
    a pooling, where neither side is the derivative.
    """

    def value(width: float) -> float:
        with torch.no_grad():
            moved = list(zip(leaves[chosen], steps[chosen], strict=True))
            originals = [leaf.clone() for leaf, _ in moved]
            for leaf, step in moved:
                leaf.add_(step, alpha=width)
            out = float((network(leaves[0]) * weights).sum())
            for (leaf, _), old in zip(moved, originals, strict=True):
                leaf.copy_(old)
        return out

    centre = value(0.0)
    ahead, behind = ((value(w) - centre) / w for w in (1e-8, -1e-8))
    wide = (value(2e-8) - value(-2e-8)) / 4e-8
    narrow = (ahead + behind) / 2
    return narrow, abs(wide - narrow) + abs(ahead - behind)


def runs_in_bfloat16(subject: Subject, trial: Trial) -> None:
    """Under autocast to bfloat16 it gives finite rows of the same shape, and trains."""
    network = trial.made(subject).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(trial.inputs(4).requires_grad_())
    out.float().square().mean().backward()
    bad = [
        n
        for n, w in network.named_parameters()
        if w.grad is not None and not w.grad.isfinite().all()
    ]
    if not bool(out.isfinite().all()) or bad:
        raise Broken(
            f"gave values that are not finite in bfloat16 ({', '.join(bad[:3]) or 'out'})."
        )
