"""A network cut below the first part that learns gives what it gave as a whole, or is not cut."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from metricforge_standard.adapters.last_blocks import LastBlocks
from torch import Tensor, nn

from metricforge.weights.cut import Cut, cut_of

IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """A residual block: the input of its layer alone is not all that it needs."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return images + self.two(self.one(images).relu())


class Net(nn.Module):
    """A stem and four blocks, with steps between them that are no modules."""

    def __init__(self, between: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.between = between or nn.Identity()
        self.blocks = nn.Sequential(*(Block() for _ in range(4)))
        self.out_features = 4

    def forward(self, images: Tensor) -> Tensor:
        stem = self.between(self.stem(images)).relu() + 1
        return self.after(stem, self.blocks(stem))

    def after(self, stem: Tensor, blocks: Tensor) -> Tensor:
        return blocks.mean((2, 3))


def frozen(network: nn.Module, last: int = 2) -> nn.Module:
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    LastBlocks(n=last).adapt(network)
    return network


def cut(network: nn.Module, frozen_norms: bool = False) -> Cut | None:
    return cut_of(network, IMAGES, frozen_norms)


def called(network: nn.Module) -> list[str]:
    """The names of the modules of a network as they are called, from now on."""
    names: list[str] = []
    for name, module in network.named_modules():
        module.register_forward_pre_hook(lambda *_, name=name: names.append(name))
    return names


def test_both_parts_give_what_the_whole_gives_and_neither_runs_the_other() -> None:
    network = frozen(Net())
    found = cut(network)
    assert found is not None
    assert (found.above, found.shape, found.size) == ("blocks.2", (4, 8, 8), 4 * 4 * 64)
    expected, names = network(IMAGES), called(network)
    passed = found.lower(network, IMAGES)
    assert {"stem", "blocks.1.two"} <= {*names}
    assert not any(name.startswith(("blocks.2.", "blocks.3")) for name in names)
    names.clear()
    assert torch.equal(found.upper(network, passed), expected)
    assert not any(name.startswith(("stem.", "blocks.0.", "blocks.1.")) for name in names)
    assert {"blocks.2.one", "blocks.3.two"} <= {*names}
    assert torch.equal(network(IMAGES), expected), "the network is as it was"


def test_the_gradients_are_those_of_the_whole() -> None:
    network = frozen(Net())
    found = cut(network)
    assert found is not None
    learning = [each for each in network.parameters() if each.requires_grad]
    whole = torch.autograd.grad(network(IMAGES).square().sum(), learning)
    passed = found.lower(network, IMAGES).detach()
    upper = torch.autograd.grad(found.upper(network, passed).square().sum(), learning)
    assert all(torch.equal(one, other) for one, other in zip(whole, upper, strict=True))


def timm_network(name: str) -> nn.Module:
    timm = pytest.importorskip("timm")
    network: nn.Module = timm.create_model(name, num_classes=0)
    return network


@pytest.mark.parametrize(
    ("name", "above"),
    [
        ("tf_efficientnet_lite0", "blocks.5.3"),
        ("resnet18", "layer4.0"),
        ("vit_tiny_patch16_224", "blocks.10"),
        ("convnext_atto", "stages.2"),
    ],
)
def test_networks_of_timm_are_cut(name: str, above: str) -> None:
    """Those of steps that are no modules as well, such as the positions of a transformer."""
    network = timm_network(name)
    LastBlocks(n=2).adapt(network)
    side = 224 if name.startswith("vit") else 64
    images = torch.randn(2, 3, side, side)
    found = cut_of(network, images, frozen_norms=True)
    assert found is not None
    assert found.above == above
    network.eval()
    with torch.no_grad():
        upper = found.upper(network, found.lower(network, images))
        assert torch.equal(upper, network(images))


class Skipping(Net):
    """What lies above the cut needs the stem as well, though at first by the factor zero."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.zeros(()))

    def after(self, stem: Tensor, blocks: Tensor) -> Tensor:
        return (blocks + self.factor * stem).mean((2, 3))


class Twice(Net):
    def forward(self, images: Tensor) -> Tensor:
        return self.after(images, self.blocks(self.stem(self.stem(images)[:, :3])))


class Blurred(Net):
    def forward(self, images: Tensor) -> Tensor:
        noise = torch.randn_like(images) if self.training else 0
        return super().forward(images + noise)


class Counting(nn.Module):
    """Something with statistics of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.batches += 1
        return images


class Mixing(nn.Module):
    """In every other batch, by Python's own random numbers, images get some of another's colour."""

    def forward(self, images: Tensor) -> Tensor:
        if not self.training or random.random() < 0.5:
            return images
        return images.lerp(images.roll(1, 0).mean((2, 3), keepdim=True), 0.1)


class Sparing(nn.Module):
    """Draws numbers, and hardly ever uses them."""

    def forward(self, images: Tensor) -> Tensor:
        return images + (np.random.rand() < 1e-9 if self.training else 0)


class Doubling(nn.Module):
    """Does something else in training, and draws nothing."""

    def forward(self, images: Tensor) -> Tensor:
        return images * 2 if self.training else images


class LearningBelow(Net):
    """What is registered last comes first, and learns."""

    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Conv2d(3, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.colour(images))


class Masking(Net):
    """The blocks' output is masked where the image itself is dark: no gradient tells."""

    def forward(self, images: Tensor) -> Tensor:
        shown = (images.mean(1, keepdim=True) > -0.5).float()
        stem = self.stem(images).relu()
        return (self.blocks(stem) * shown).mean((2, 3))


class Watched(Net):
    """The end adds what a hook has seen of a layer below, of the first image."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = torch.zeros(())
        self.blocks[0].one.register_forward_hook(self.see)

    def see(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self.seen = output[:1]

    def after(self, stem: Tensor, blocks: Tensor) -> Tensor:
        return (blocks + self.seen).mean((2, 3))


class Raising(Net):
    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("not to be trained")
        return super().forward(images)


@pytest.mark.fault(140)
@pytest.mark.parametrize(
    "make",
    [
        Skipping,
        Twice,
        LearningBelow,
        Masking,
        Watched,
        Blurred,
        Raising,
        lambda: Net(nn.Dropout(0.5)),
        lambda: Net(nn.BatchNorm2d(4)),
        lambda: Net(Counting()),
        lambda: Net(Mixing()),
        lambda: Net(Doubling()),
        lambda: Net(Sparing()),
    ],
)
def test_a_network_is_not_cut_where_its_parts_would_give_something_else(
    make: Callable[[], nn.Module],
) -> None:
    network = frozen(make())
    network.train()
    network.stem.eval()  # type: ignore[union-attr]
    if isinstance(network, LearningBelow):
        network.colour.requires_grad_(True)
    state, modes = torch.get_rng_state(), [module.training for module in network.modules()]
    others = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    tensors = [tensor.clone() for tensor in network.state_dict().values()]
    assert cut(network) is None
    assert torch.equal(torch.get_rng_state(), state), "later draws are as without it"
    assert (random.getstate(), np.random.get_state()[1].tolist()) == others  # type: ignore[union-attr]
    assert [module.training for module in network.modules()] == modes
    assert all(map(torch.equal, tensors, network.state_dict().values()))


def test_batch_norm_that_is_frozen_may_lie_below() -> None:
    assert cut(frozen(Net(nn.BatchNorm2d(4))), frozen_norms=True) is not None


def test_what_depends_on_the_other_images_of_a_batch_is_not_kept() -> None:
    """As batch norm without statistics of its own, in evaluation too."""
    network = frozen(Net(nn.BatchNorm2d(4, track_running_stats=False)))
    for frozen_norms in (True, False):
        assert cut(network, frozen_norms) is None


def test_there_is_nothing_to_cut_off_where_the_first_layer_learns() -> None:
    network = Net()
    assert cut(network) is None
    network.blocks.requires_grad_(False)
    assert cut(network) is None
    scaled = nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3), nn.Flatten())
    assert cut(scaled) is None, "what lies below has no weights"
    assert cut(Net().requires_grad_(False)) is None
