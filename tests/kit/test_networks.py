"""Each check of heads and backbones finds a network that is broken in just that way."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from torch import nn

from metricforge.contracts import Preprocessing
from metricforge.errors import UsageError
from metricforge.testing import check, check_backbone, check_head
from tests.kit.breaking import assert_all_are_broken, assert_ends


class Head(nn.Module):
    def __init__(self, in_features, dim):
        super().__init__()
        self.layer = nn.Linear(in_features, dim)

    def forward(self, rows):
        return self.layer(rows)


class Backbone(nn.Module):
    out_features = 8

    def __init__(self, in_channels):
        super().__init__()
        self.layer = nn.Conv2d(in_channels, 8, 3, stride=2)

    def forward(self, images):
        return self.layer(images).tanh().mean((2, 3))


def broken_in(base):
    """The ways in which either network may be broken, by the check that finds it."""

    def changed(name, forward, **members):
        return type(name, (base,), {"forward": forward, **members})

    def sound(self, rows):
        return base.forward(self, rows)

    class Raises(base):
        __signature__ = inspect.signature(base)

        def __init__(self, **offers):
            raise UsageError("not today")

    def noisy(self, rows):
        state = torch.get_rng_state()
        out = sound(self, rows)
        out = out + torch.rand(out.shape, device=rows.device) * (0 if self.training else 1e-5)
        torch.set_rng_state(state)
        return out

    def in_place(self, rows):
        with torch.no_grad():
            rows.abs_()
        return sound(self, rows)

    def unrooted(self, rows):
        out = sound(self, rows)
        return out + (0 * out).sqrt() if out.dtype == torch.float32 and self.training else out

    class Numpy(base):
        __signature__ = inspect.signature(base)

        def __init__(self, **offers):
            super().__init__(**offers)
            scale = torch.from_numpy(np.random.rand(1)).to(torch.float32)
            self.layer.bias.data += scale

    class Forgets(base):
        __signature__ = inspect.signature(base)

        def __init__(self, **offers):
            super().__init__(**offers)
            self.shift = torch.rand(1).item()

        def forward(self, rows):
            return super().forward(rows) + self.shift

    return {
        "builds": [Raises],
        "gives-one-row-an-input": [
            changed("Wide", lambda self, rows: sound(self, rows).repeat(1, 2)),
            changed("Squeezed", lambda self, rows: sound(self, rows).squeeze(0)),
        ],
        "rows-are-independent": [
            changed("Centres", lambda self, rows: sound(self, rows) - sound(self, rows).mean(0) / 2)
        ],
        "evaluation-draws-nothing": [changed("Noisy", noisy)],
        "input-stays": [changed("InPlace", in_place)],
        "gradients-are-finite": [changed("Unrooted", unrooted)],
        "gradient-is-the-derivative": [
            changed(
                "HalfDetached", lambda self, rows: sound(self, rows) * sound(self, rows).detach()
            )
        ],
        "runs-in-bfloat16": [
            changed(
                "Overflows",
                lambda self, rows: (
                    sound(self, rows) / (1.0 if sound(self, rows).dtype != torch.bfloat16 else 0.0)
                ),
            )
        ],
        "runs-on-any-device": [
            changed("OnTheCpu", lambda self, rows: sound(self, rows) + torch.zeros(8)[:1])
        ],
        "weights-come-from-the-seed": [Numpy],
        "saves-and-loads": [Forgets],
    }


class NoHead:
    def __init__(self, in_features, dim):
        pass


class WordyHead(Head):
    unit_length = "yes"


class NoFeatures(Backbone):
    out_features = None


class Tuple(Backbone):
    preprocessing = ((0.5,), (0.5,))


class OnlyMean(Backbone):
    preprocessing = Preprocessing(mean=(0.5,))


class Lays(Backbone):
    """Takes the pixels as they lie in memory."""

    def forward(self, images):
        lie = images.as_strided((len(images), 8), (images[0].numel(), 1))
        return super().forward(images) + lie


class RebuildsNothing(Backbone):
    rebuild = "no-such-backbone"


class RebuildsAnother(Backbone):
    rebuild = "conv4"


HEADS = broken_in(Head) | {"is-a-module": [NoHead, WordyHead]}
BACKBONES = broken_in(Backbone) | {
    "is-a-module": [NoFeatures],
    "preprocessing-is-as-agreed": [OnlyMean],
    "channels-last-gives-the-same": [Lays],
    "rebuild-makes-the-same-network": [RebuildsNothing, RebuildsAnother],
}
CASES = [
    (kind, name, each)
    for kind, table in (("head", HEADS), ("backbone", BACKBONES))
    for name, broken in table.items()
    for each in broken
]


@pytest.mark.parametrize(("kind", "name", "component"), CASES)
def test_a_broken_network_fails_just_that_check(kind, name, component):
    assert_ends(kind, name, component, "failed")


def test_every_check_has_its_broken_network():
    assert_all_are_broken("head", HEADS)
    assert_all_are_broken("backbone", BACKBONES)


def test_preprocessing_of_another_type_is_found_when_it_is_built():
    assert "give a metricforge.contracts.Preprocessing" in str(check("backbone", Tuple))


def test_a_backbone_may_refuse_a_size():
    class Large(Backbone):
        def __init__(self, in_channels, image_size):
            super().__init__(in_channels)
            if min(image_size) < 32:
                raise UsageError("images of 32 pixels or more")

    assert check_backbone(Large).passed


def test_weights_that_never_get_a_gradient_are_noted():
    class Idle(Head):
        def __init__(self, in_features, dim):
            super().__init__(in_features, dim)
            self.idle = nn.Parameter(torch.zeros(1))

    (note, _) = check_head(Idle).notes
    assert "no gradient for idle" in note.says


def test_sound_networks_pass():
    assert check_head(Head).passed
    assert check_backbone(Backbone).passed
