"""The contract of an adapter: what learns, what stays, and what is added."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from metricforge.contracts import Merging
from metricforge.errors import MetricForgeError
from metricforge.testing.checkpoints import put_state, state_of
from metricforge.testing.checks import Broken, Skipped, checks, on_input, raised, refusal
from metricforge.testing.randomness import set_globals, untouched
from metricforge.testing.subject import Subject
from metricforge.weights.adapting import adapt, merge, rates_of

WIDTH, SIDE = 16, 8


class _Convolutions(nn.Module):
    """A stem and three residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.blocks = nn.Sequential(*(_Block() for _ in range(3)))
        self.norm = nn.BatchNorm2d(WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.norm(self.blocks(self.stem(images))).mean((2, 3))
        return features


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.norm = nn.BatchNorm2d(WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        changed: Tensor = images + self.norm(self.convolution(images)).relu()
        return changed


class _Transformer(nn.Module):
    """Columns of an image as tokens, and three transformer blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * SIDE, WIDTH)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 2, 2 * WIDTH, dropout=0.0, batch_first=True)
            for _ in range(3)
        )
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images.permute(0, 3, 1, 2).flatten(2))
        for block in self.blocks:
            tokens = block(tokens)
        features: Tensor = self.norm(tokens).mean(1)
        return features


NETWORKS = {"a network of convolutions": _Convolutions, "a transformer": _Transformer}


def builds(subject: Subject) -> None:
    """It is built from its options."""
    subject.build()


def adapts_a_network(subject: Subject) -> None:
    """`adapt` changes a network in place, some of whose weights then learn; it may refuse some."""
    if not callable(getattr(subject.build(), "adapt", None)):
        raise Broken("has no method adapt(backbone).")
    refused = ""
    for name, made in NETWORKS.items():
        set_globals(0)
        try:
            adapt(made(), [subject.build()])
        except MetricForgeError as error:
            refused = refused or refusal(error)
            continue
        except Exception as error:
            raise Broken(f"{raised(error)}, of {name}.") from error
        subject.cache.setdefault("networks", []).append(name)
    if "networks" not in subject.cache:
        raise Broken(f"{refused}; adapt convolutions or transformers.")


def features_stay(subject: Subject) -> None:
    """Before any training the features are those of the plain network."""
    for plain, adapted, _ in _pairs(subject):
        shown = images()
        if not torch.allclose(adapted.eval()(shown), plain.eval()(shown), rtol=1e-4, atol=1e-5):
            raise Broken("changed the features; what is added must begin at nothing.")


def weights_stay(subject: Subject) -> None:
    """The values of the network's own weights stay as they are."""
    for plain, adapted, _ in _pairs(subject):
        values = [value for _, value in adapted.state_dict().items()]
        for name, value in plain.state_dict().items():
            if not any(value.shape == each.shape and value.equal(each) for each in values):
                raise Broken(f"changed the weight '{name}'.")


def a_step_trains_what_learns(subject: Subject) -> None:
    """A step of training changes only weights that require a gradient, and some of these."""
    for _, adapted, _ in _pairs(subject):
        before = copy.deepcopy(adapted.state_dict())
        learning = {n for n, each in adapted.named_parameters() if each.requires_grad}
        optimizer = torch.optim.SGD((p for p in adapted.parameters() if p.requires_grad), lr=0.1)
        adapted.eval()(images()).square().sum().backward()
        optimizer.step()
        changed = {n for n, value in adapted.state_dict().items() if not value.equal(before[n])}
        if not changed:
            raise Broken("left nothing to learn: a step changed no weight.")
        if wrong := changed - learning:
            raise Broken(f"changed '{min(wrong)}', which requires no gradient.")


def rates_are_factors(subject: Subject) -> None:
    """`rates`, if it has it, gives factors above 0 by the names of parameters."""
    for _, adapted, adapter in _pairs(subject):
        rates_of(adapted, [adapter])


def merges_to_the_same(subject: Subject) -> None:
    """`merge`, if it has it, makes a network of the plain one's names and the same features."""
    if not isinstance(subject.build(), Merging):
        raise Skipped("it adds nothing to merge.")
    for plain, adapted, adapter in _pairs(subject):
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.full_like(parameter, 0.05))
        expected = adapted.eval()(images())
        merge(adapted, [adapter])
        if adapted.state_dict().keys() != plain.state_dict().keys():
            raise Broken("left names of its own in the merged network.")
        if not torch.allclose(adapted(images()), expected, rtol=1e-4, atol=1e-5):
            raise Broken("gave other features after merging.")


def saves_and_loads(subject: Subject) -> None:
    """A network adapted anew and given the state gives the same features."""
    for (_, first, _), (_, second, _) in zip(_pairs(subject), _pairs(subject, 7), strict=True):
        put_state(second, state_of(first))
        if not torch.allclose(first.eval()(images()), second.eval()(images()), atol=1e-6):
            raise Broken("gave other features after loading the state.")


def draws_from_torch_alone(subject: Subject) -> None:
    """What it draws comes from torch's generator; those of python and numpy stay alone."""
    states = []
    for _ in range(2):
        for name in subject.cache["networks"]:
            set_globals(0)
            network = NETWORKS[name]()
            torch.manual_seed(1)
            with untouched("adapting", torch_too=False):
                adapt(network, [subject.build()])
            states.append(network.state_dict())
    half = len(states) // 2
    for first, second in zip(states[:half], states[half:], strict=True):
        if not all(first[name].equal(second[name]) for name in first):
            raise Broken("made other weights from the same torch seed.")


def images() -> Tensor:
    """Four images of 8 x 8 pixels."""
    return torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))


def _pairs(subject: Subject, seed: int = 0) -> Iterator[tuple[nn.Module, nn.Module, Any]]:
    """Each network that it adapts: plain, adapted, and the adapter."""
    for name in subject.cache["networks"]:
        set_globals(0)
        plain = NETWORKS[name]()
        adapted, adapter = copy.deepcopy(plain), subject.build()
        set_globals(seed)
        with on_input(name):
            adapt(adapted, [adapter])
            yield plain, adapted, adapter


ADAPTER_CHECKS = checks(
    builds,
    adapts_a_network,
    features_stay,
    weights_stay,
    a_step_trains_what_learns,
    rates_are_factors,
    merges_to_the_same,
    saves_and_loads,
    draws_from_torch_alone,
    first=2,
)
