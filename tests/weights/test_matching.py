"""Weights of another program find their places in a network, or what differs is named."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from metricforge.errors import ArtefactError
from metricforge.weights.matching import start_from
from metricforge.weights.reading import Weights


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3)
        self.norm = nn.BatchNorm2d(width)


class Published(nn.Module):
    """A network as others publish it, with a last layer."""

    def __init__(self, blocks: int = 2, channels: int = 3, width: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3)
        self.layers = nn.ModuleList(Block(width) for _ in range(blocks))
        self.fc = nn.Linear(width, 10)


class Trunk(nn.Module):
    """The same behind a name of its own, and without the last layer."""

    def __init__(self, network: Published) -> None:
        super().__init__()
        network.fc = nn.Identity()
        self.network = network


def network(seed: int = 1, **options: int) -> Published:
    torch.manual_seed(seed)
    return Published(**options)


def weights(tensors: Mapping[str, Tensor]) -> Weights:
    return Weights("w.pth", dict(tensors), "")


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "prefix", ["", "module.", "backbone.", "model.", "state_dict.module.encoder.", "network."]
)
def test_a_prefix_and_a_last_layer_are_handled_and_reported(prefix: str) -> None:
    published = network(0).state_dict()
    trunk = Trunk(network())
    (note,) = start_from(trunk, weights(prefixed(prefix, published)), "backbone x")
    for name, tensor in trunk.state_dict().items():
        assert torch.equal(tensor, published[name.removeprefix("network.")])
    assert f"not used: {prefix}fc.weight, {prefix}fc.bias" in note
    count = len(published) - 2
    assert note.startswith(f"backbone x starts from {count} tensors of w.pth")
    assert (f"begin with '{prefix}'" in note) == (prefix not in ("", "network."))


def test_counts_of_batches_may_be_missing() -> None:
    published = network(0).state_dict()
    old = {k: v for k, v in published.items() if not k.endswith("num_batches_tracked")}
    trunk = Trunk(network())
    start_from(trunk, weights(old), "backbone x")
    assert torch.equal(trunk.network.stem.weight, published["stem.weight"])


@pytest.mark.parametrize(("source", "own"), [(3, 1), (1, 3), (3, 4)])
def test_another_number_of_channels_keeps_the_response_to_equal_channels(
    source: int, own: int
) -> None:
    published = network(0, channels=source)
    trunk = Trunk(network(channels=own))
    (note,) = start_from(trunk, weights(published.state_dict()), "backbone x")
    assert f"the first layer takes {own} channels for {source}" in note
    grey = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = published.stem(grey.expand(-1, source, -1, -1))
    actual = trunk.network.stem(grey.expand(-1, own, -1, -1))
    # The sum over the channels: a grey image is as the three equal ones of the pretraining.
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_half_precision_is_widened() -> None:
    published = {k: v.half() if v.is_floating_point() else v
                 for k, v in network(0).state_dict().items()}  # fmt: skip
    trunk = Trunk(network())
    start_from(trunk, weights(published), "backbone x")
    assert trunk.network.stem.weight.dtype == torch.float32
    assert torch.equal(trunk.network.stem.weight, published["stem.weight"].float())


def untouched(trunk: Trunk, refused: Mapping[str, Tensor], reason: str) -> None:
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    with pytest.raises(ArtefactError, match=reason):
        start_from(trunk, weights(refused), "backbone x")
    assert all(torch.equal(before[k], v) for k, v in trunk.state_dict().items())


def test_missing_tensors_are_named() -> None:
    published = network(0).state_dict()
    published.pop("layers.1.conv.weight")
    untouched(Trunk(network()), published, r"they lack layers\.1\.conv\.weight \(1 in all\)")
    smaller = network(0, blocks=1).state_dict()
    untouched(Trunk(network()), smaller, r"they lack layers\.1\.conv\.weight.*\(6 in all\)")


def test_a_deeper_network_of_the_family_is_refused() -> None:
    """All names and shapes of the smaller one are in it: it would be a network of no training."""
    untouched(Trunk(network()), network(0, blocks=3).state_dict(), "of a larger network, with laye")


def test_other_shapes_and_types_are_named() -> None:
    wider = network(0, width=6).state_dict()
    untouched(Trunk(network()), wider, r"stem\.weight \[6, 3, 3, 3\], not \[4, 3, 3, 3\]")
    published = network(0).state_dict()
    published["layers.0.conv.weight"] = published["layers.0.conv.weight"].to(torch.int64)
    untouched(Trunk(network()), published, r"layers\.0\.conv\.weight int64 ")
    published["layers.0.conv.weight"] = torch.full((4, 4, 3, 3), torch.nan)
    untouched(Trunk(network()), published, r"NaN or infinite.*layers\.0\.conv\.weight")


def test_tensors_of_something_else_are_refused() -> None:
    untouched(Trunk(network()), {"a": torch.ones(2)}, "no name of a tensor agrees")
    untouched(Trunk(network()), {}, "no name of a tensor agrees")


def test_two_networks_that_fit_are_refused_and_another_part_is_not_used() -> None:
    published = network(0).state_dict()
    two = prefixed("student.", published) | prefixed("teacher.", published)
    untouched(Trunk(network()), two, r"several networks that fit backbone x \('student\.', 'teac")
    trunk = Trunk(network())
    other = prefixed("text.", nn.Linear(2, 2).state_dict())
    start_from(trunk, weights(prefixed("visual.", published) | other), "backbone x")
    assert torch.equal(trunk.network.stem.weight, published["stem.weight"])
