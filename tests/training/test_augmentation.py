"""Augmentations in order: what they are given, what they may give, and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from metricforge.data.orientations import Oriented
from metricforge.errors import PluginError
from metricforge.runtime import Runtime
from metricforge.training.augmentation import Chain
from metricforge.training.loop import TrainState, fit

PHOTO = torch.arange(2 * 3 * 4 * 6, dtype=torch.uint8).view(2, 3, 4, 6)
INDICES = torch.tensor([4, 9])


class Shift:
    """Moves images by whole pixels to the left: pixel x shows what was at x + by."""

    def __init__(self, by: int) -> None:
        self.by = by

    def warp(self, grid, draws):
        moved = grid.expand(2, -1, -1, -1).clone()
        moved[..., 0] += 2 * self.by / grid.shape[2]
        return moved


class Double:
    def __call__(self, images, draws):
        return images * 2


class Spin:
    """Turns by a quarter: which of two warps comes first can be seen."""

    def warp(self, grid, draws):
        return torch.stack([grid[..., 1], -grid[..., 0]], dim=-1).expand(2, -1, -1, -1)


def test_nothing_leaves_the_images_as_they_are() -> None:
    shown = Chain([], 0, [0, 0, 0])(PHOTO, 0, INDICES)
    assert shown.dtype == torch.float32
    assert torch.equal(shown, PHOTO.float())


def test_what_comes_in_from_outside_has_the_fill_colour() -> None:
    shown = Chain([Shift(2)], 0, [7, 8, 9])(PHOTO, 0, INDICES)
    assert torch.allclose(shown[..., :-2], PHOTO[..., 2:].float(), atol=1e-3)
    assert torch.allclose(shown[..., -2:], torch.tensor([7.0, 8, 9]).view(1, 3, 1, 1))


def test_moves_in_a_row_are_those_one_after_the_other() -> None:
    square = PHOTO[..., :4]
    chain = Chain([Shift(1), Spin(), Double(), Shift(1)], 0, [0, 0, 0])
    one = [Chain([step], 0, [0, 0, 0]) for step in (Shift(1), Spin(), Double(), Shift(1))]
    wanted = square
    for step in one:
        wanted = step(wanted, 0, INDICES)
    assert torch.allclose(chain(square, 0, INDICES), wanted, atol=1e-2)
    other = Chain([Spin(), Shift(1), Double(), Shift(1)], 0, [0, 0, 0])(square, 0, INDICES)
    assert not torch.allclose(other, wanted, atol=1)


class Tells:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.drawn: list[Any] = []

    def __call__(self, images, draws):
        self.drawn.append(draws.uniform(1).flatten().tolist())
        return images


def test_draws_are_a_function_of_seed_epoch_index_and_place_in_the_chain() -> None:
    step = Tells()

    def drawn(seed: int = 0, epoch: int = 0, indices: torch.Tensor = INDICES, before: int = 0):
        Chain([*[Double()] * before, step], seed, [0, 0, 0])(PHOTO, epoch, indices)
        return step.drawn[-1]

    assert drawn() == drawn()
    assert drawn() == drawn(indices=INDICES.flip(0))[::-1]
    others = [drawn(seed=1), drawn(epoch=1), drawn(indices=INDICES + 1), drawn(before=1)]
    assert len({number for row in (drawn(), *others) for number in row}) == 10


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda images: images[..., 1:], r"\[2, 3, 4, 5\]"),
        (lambda images: images.double(), "float64"),
        (lambda images: None, "NoneType"),
    ],
)
def test_another_shape_or_type_is_the_plugins_fault(given: Callable[..., Any], told: str) -> None:
    class Bad:
        def __call__(self, images, draws):
            return given(images)

    class BadMove:
        def warp(self, grid, draws):
            return given(grid.expand(2, -1, -1, -1).mul(1).unbind(0)[0][None])

    with pytest.raises(PluginError, match=f"Bad.*must give torch.float32.*{told}"):
        Chain([Bad()], 0, [0, 0, 0])(PHOTO, 0, INDICES)
    with pytest.raises(PluginError, match=r"BadMove.*must give"):
        Chain([BadMove()], 0, [0, 0, 0])(PHOTO, 0, INDICES)


def test_what_fails_is_blamed() -> None:
    class Fails:
        def __call__(self, images, draws):
            raise ZeroDivisionError

    with pytest.raises(PluginError, match=r"Fails.*ZeroDivisionError"):
        Chain([Fails()], 0, [0, 0, 0])(PHOTO, 0, INDICES)


class Noise:
    def __call__(self, images, draws):
        return images + 20 * draws.normal(*images.shape[1:])


def test_the_loop_augments_by_seed_epoch_and_image(make_setup: Callable[..., Any]) -> None:
    """Each step's network input is a function of its own images: batches may be cut anywhere."""
    seen: list[tuple[int, torch.Tensor, torch.Tensor]] = []

    class Watch(Chain):
        def __call__(self, images, epoch, indices):
            shown = super().__call__(images, epoch, indices)
            seen.append((epoch, indices, shown))
            return shown

    setup = make_setup(epochs=2)
    object.__setattr__(setup, "augment", Watch([Noise()], 3, [0]))
    list(fit(setup, TrainState(), Runtime.resolve("cpu")))
    assert {epoch for epoch, _, _ in seen} == {0, 1}
    by_image: dict[tuple[int, int], torch.Tensor] = {}
    for epoch, indices, shown in seen:
        for index, image in zip(indices.tolist(), shown, strict=True):
            plain = Chain([Noise()], 3, [0])(
                setup.images.take(torch.tensor([index])), epoch, torch.tensor([index])
            )
            assert torch.equal(image, plain[0])
            by_image[epoch, index] = image
    first = next(index for epoch, index in by_image if epoch == 0)
    assert not torch.equal(by_image[0, first], by_image[1, first])


def test_views_of_an_image_draw_apart(make_setup: Callable[..., Any]) -> None:
    images = Oriented(make_setup().images, 4)
    views = torch.arange(4)
    plain = images.take(views).float()
    noise = Chain([Noise()], 0, [0])(images.take(views), 0, views) - plain
    assert not torch.equal(noise[0], noise[1])
