"""Each check of augmentations finds one that is broken in just that way."""

from __future__ import annotations

import pytest
import torch

from metricforge.testing import check_augmentation
from tests.kit.breaking import assert_all_are_broken, assert_ends


class Sound:
    """Makes each image lighter or darker."""

    def __init__(self, in_channels, image_size, *, most: float = 0.5):
        self.most = most

    def __call__(self, images, draws):
        return images * draws.uniform(1, 1, 1, low=1 - self.most, high=1 + self.most)


class Moves:
    """Shifts each image."""

    def warp(self, grid, draws):
        return grid + draws.uniform(1, 1, 2, low=-0.2, high=0.2)


class Nothing:
    """Gives images as they are."""

    def __call__(self, images, draws):
        return images


class Fails(Sound):
    def __init__(self, in_channels, image_size):
        raise RuntimeError("no")


class ThreeOrientations(Sound):
    orientations = 3


class Uncallable:
    pass


class AnotherShape(Sound):
    def __call__(self, images, draws):
        return images[:, :, 1:]


class Infinite(Sound):
    def __call__(self, images, draws):
        return super().__call__(images, draws) / 0


class UsesTheBatch(Sound):
    def __call__(self, images, draws):
        return super().__call__(images, draws) - images.mean()


class UsesThePlace(Sound):
    def __call__(self, images, draws):
        return super().__call__(images, draws) + torch.arange(len(images)).view(-1, 1, 1, 1)


class DrawsOnce(Sound):
    def __call__(self, images, draws):
        made = draws.uniform(1, 1, 1)
        return images if len(images) < 9 else images * made[:1]


class Seeds(Sound):
    def __call__(self, images, draws):
        torch.rand(1)
        return super().__call__(images, draws)


class SeesTheGlobalSeed(Sound):
    def __call__(self, images, draws):
        return super().__call__(images, draws) + torch.initial_seed() % 1_000


class InPlace(Sound):
    def __call__(self, images, draws):
        return images.mul_(draws.uniform(1, 1, 1))


BROKEN = {
    "builds": Fails,
    "is-applied-as-agreed": ThreeOrientations,
    "gives-images-of-the-same-shape": AnotherShape,
    "images-are-independent": UsesTheBatch,
    "each-image-has-its-own-draws": DrawsOnce,
    "same-place-same-images": SeesTheGlobalSeed,
    "global-generators-stay": Seeds,
    "input-stays": InPlace,
    "stays-on-the-device": None,
}


@pytest.mark.parametrize("name", [name for name, component in BROKEN.items() if component])
def test_a_broken_augmentation_is_found(name: str):
    assert_ends("augmentation", name, BROKEN[name], "failed")


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("is-applied-as-agreed", Uncallable),
        ("gives-images-of-the-same-shape", Infinite),
        ("images-are-independent", UsesThePlace),
    ],
)
def test_other_ways_to_be_broken_are_found(name: str, component: type):
    assert_ends("augmentation", name, component, "failed")


def test_every_check_has_its_broken_augmentation():
    assert_all_are_broken("augmentation", BROKEN)


@pytest.mark.parametrize("component", [Sound, Moves, Nothing])
def test_a_sound_augmentation_passes(component: type):
    report = check_augmentation(component)
    assert ("it draws nothing." in str(report)) == (component is Nothing)
