"""The backbone `resnet-small`."""

from __future__ import annotations

import pytest
import torch
from metricforge_standard.backbones.resnet_small import ResNetSmall

from metricforge.errors import UsageError
from metricforge.testing import check_backbone


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (105, 105), (33, 20), (8, 8), (1, 1)])
@pytest.mark.parametrize(("pool", "stem"), [(1, 1), (2, 2), (3, 3)])
def test_any_size_gives_the_features_it_says(size, pool, stem):
    network = ResNetSmall(3, size, width=4, blocks=2, pool=pool, stem=stem)
    features = network(torch.randn(2, 3, *size))
    assert features.shape == (2, network.out_features) == (2, 32 * pool**2)
    assert features.isfinite().all()


@pytest.mark.parametrize("stem", [1, 2])
def test_every_pixel_counts(stem):
    """Each stage halves what it sees, and none skips a stroke that is one pixel wide."""
    network = ResNetSmall(1, (32, 32), width=4, stem=stem).eval()
    images = torch.randn(8, 1, 32, 32, requires_grad=True)
    (slope,) = torch.autograd.grad(network(images).sum(), images)
    # Of one image, a slope may be 0 by chance: all that it goes through is below a kink.
    assert (slope != 0).any(0).all()


@pytest.mark.parametrize("option", ["width", "blocks", "pool", "stem"])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(UsageError, match="needs width, blocks, pool and stem >= 1"):
        ResNetSmall(1, (28, 28), **{option: 0})


def test_a_stem_of_two_makes_a_larger_image_as_large_as_a_smaller_one():
    large, small = ResNetSmall(1, (64, 64), width=4, stem=2), ResNetSmall(1, (32, 32), width=4)
    shapes = [
        n.stem(torch.zeros(1, 1, *s)).shape for n, s in ((large, (64, 64)), (small, (32, 32)))
    ]
    assert shapes[0] == shapes[1]


def test_the_kit_finds_nothing():
    check_backbone(ResNetSmall, width=4)
