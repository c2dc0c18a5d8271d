"""The contract of an optimizer: it keeps its groups, follows gradients, and has a state."""

from __future__ import annotations

import json

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.optim import Optimizer

from metricforge.errors import MetricForgeError
from metricforge.testing.checks import Broken, checks, refusal
from metricforge.testing.randomness import set_globals, untouched
from metricforge.testing.subject import Subject
from metricforge.training.checkpoint import flattened, unflatten
from metricforge.training.optimizer import make_optimizer

STEPS = 30
SAVED = "save what it needs in `self.state[parameter]`, as torch's optimizers do."


def builds(subject: Subject) -> None:
    """It is built from groups of parameters and its options."""
    network = _Network()
    subject.build(params=[{"params": [*network.head.parameters()], "name": "head"}])


def keeps_the_groups(subject: Subject) -> None:
    """It is a torch.optim.Optimizer of the same groups, with their names and an `lr` above 0."""
    try:
        _made(subject, _Network())
    except MetricForgeError as error:
        raise Broken(refusal(error)) from error


def steps_follow_the_gradient(subject: Subject) -> None:
    """A few steps reduce a loss, and leave weights without a gradient as they are."""
    network = _Network()
    optimizer = _made(subject, network)
    before = network.head.bias.detach().clone()
    losses = [_step(network, optimizer, 0) for _ in range(STEPS)]
    if not losses[-1] < losses[0]:
        raise Broken(f"took the loss from {losses[0]:g} to {losses[-1]:g} in {STEPS} steps.")
    if not network.head.bias.equal(before):
        raise Broken("changed a weight without a gradient; skip those whose `grad` is None.")


def the_rate_scales_the_step(subject: Subject) -> None:
    """With `lr` 0 in its groups a step changes no weight: the schedule sets `lr`."""
    network = _Network()
    optimizer = _made(subject, network)
    before = _weights(network)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for number in range(3):
        _step(network, optimizer, number)
    if not all(old.equal(new) for old, new in zip(before, _weights(network), strict=True)):
        raise Broken("changed weights at lr 0; read `lr` from its group in each step.")


def resumes_exactly(subject: Subject) -> None:
    """Built anew and given its saved state, it takes the same steps."""
    network = _Network()
    optimizer = _made(subject, network)
    for number in range(3):
        _step(network, optimizer, number)
    other = _Network()
    other.load_state_dict(network.state_dict())
    again = _made(subject, other)
    tensors, numbers = flattened(optimizer)
    # By way of a file, as a checkpoint.
    unflatten(again, load_tensors(save_tensors(tensors)), json.loads(json.dumps(numbers)))
    for number in range(3, 6):
        _step(network, optimizer, number)
        _step(other, again, number)
    if not all(a.equal(b) for a, b in zip(_weights(network), _weights(other), strict=True)):
        raise Broken(f"takes other steps after it was resumed; {SAVED}")


def global_generators_stay(subject: Subject) -> None:
    """Building it and a step leave the generators of python, numpy and torch alone."""
    network = _Network()
    set_globals(1)
    with untouched("an optimizer"):
        optimizer = _made(subject, network)
        _step(network, optimizer, 0)


OPTIMIZER_CHECKS = checks(
    builds,
    keeps_the_groups,
    steps_follow_the_gradient,
    the_rate_scales_the_step,
    resumes_exactly,
    global_generators_stay,
    first=2,
)


class _Network(nn.Module):
    """Two layers towards outputs of zero; the bias of the head is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(6, 8), nn.Linear(8, 4)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator) / 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.linear(self.backbone(inputs).tanh(), self.head.weight)

    @property
    def parts(self) -> dict[str, object]:
        return {"backbone": self.backbone, "head": self.head}


def _made(subject: Subject, network: _Network) -> Optimizer:
    return make_optimizer(lambda groups: subject.build(params=groups), network.parts)


def _step(network: _Network, optimizer: Optimizer, number: int) -> float:
    """A step on the inputs of this number, and the loss before it."""
    inputs = torch.randn(16, 6, generator=torch.Generator().manual_seed(number))
    optimizer.zero_grad()
    loss: Tensor = network(inputs).square().mean()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _weights(network: _Network) -> list[Tensor]:
    return [weight.detach().clone() for weight in network.parameters()]
