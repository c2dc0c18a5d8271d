"""The augmentations that ship: what each does to pixels, measured on images made for it."""

from __future__ import annotations

import math

import pytest
import torch
from metricforge_standard.augmentations.stroke import Stroke
from metricforge_standard.augmentations.torchvision import NAMES
from torch import Tensor

from metricforge.errors import UsageError
from metricforge.registry import Registry
from metricforge.spec import Spec
from metricforge.testing.augmentation_checks import augmented

REGISTRY = Registry.installed()
MANY = 400


def made(spec: str, size: tuple[int, int] = (32, 32)):
    offers = {"in_channels": 1, "image_size": size}
    return REGISTRY.build("augmentation", Spec.parse(spec), offers)


def changed(spec: str, image: Tensor, count: int = MANY) -> Tensor:
    """An image [C, H, W] as `count` different ones would be changed."""
    return augmented(made(spec, tuple(image.shape[1:])), image.expand(count, -1, -1, -1))


def dot(height: int = 33, width: int = 33, row: float = 16, column: float = 16) -> Tensor:
    """A soft spot of light."""
    y, x = torch.arange(height).view(-1, 1), torch.arange(width)
    return (200 * torch.exp(-((y - row) ** 2 + (x - column) ** 2) / 8.0))[None]


def centres(images: Tensor) -> Tensor:
    """(row, column) of the centre of mass of each image [B, 1, H, W], from the middle."""
    weight = images / images.sum((1, 2, 3), keepdim=True)
    height, width = images.shape[2:]
    rows = (weight * torch.arange(height).view(-1, 1)).sum((1, 2, 3)) - (height - 1) / 2
    columns = (weight * torch.arange(width)).sum((1, 2, 3)) - (width - 1) / 2
    return torch.stack([rows, columns], dim=1)


STILL = "affine:rotate=0,shear=0,scale=0,shift=0"


def test_an_affine_of_nothing_changes_nothing() -> None:
    assert torch.allclose(changed(STILL, dot(), 2), dot().expand(2, -1, -1, -1), atol=1e-2)


@pytest.mark.parametrize("size", [(33, 33), (33, 65)])
def test_affine_turns_by_up_to_so_many_degrees_in_pixels(size: tuple[int, int]) -> None:
    height, width = size
    arm = 10
    spot = dot(height, width, (height - 1) / 2, (width - 1) / 2 + arm)
    found = centres(changed("affine:rotate=30,scale=0,shift=0", spot))
    assert torch.allclose(found.norm(dim=1), torch.tensor(float(arm)), atol=0.1)
    angles = torch.atan2(found[:, 0], found[:, 1]) * 180 / math.pi
    assert -30.5 < float(angles.min()) < -28
    assert 28 < float(angles.max()) < 30.5
    assert abs(float(angles.mean())) < 3


def test_affine_shifts_by_a_share_of_the_side() -> None:
    found = centres(changed("affine:rotate=0,scale=0,shift=0.2", dot(41, 61, 20, 30)))
    assert 7.8 < float(found[:, 0].max()) < 8.3
    assert -8.3 < float(found[:, 0].min()) < -7.8
    assert 11.6 < float(found[:, 1].max()) < 12.3


def test_affine_scales_up_and_down_each_side_by_itself() -> None:
    spot = dot(65, 65, 32, 32 + 10)
    across = centres(changed("affine:rotate=0,scale=0.25,shift=0", spot))[:, 1]
    assert 12.3 < float(across.max()) < 12.6
    assert 7.9 < float(across.min()) < 8.2
    square = changed("affine:rotate=0,scale=0.5,shift=0", dot(65, 65, 22, 42))
    down, right = centres(square).unbind(1)
    assert (down.abs() / right.abs()).std() > 0.1


def test_affine_shears_rows_along_each_other() -> None:
    spot = dot(65, 65, 32 + 10, 32)
    found = centres(changed("affine:rotate=0,shear=30,scale=0,shift=0", spot))
    assert torch.allclose(found[:, 0], torch.tensor(10.0), atol=0.1)
    assert 5.5 < float(found[:, 1].abs().max()) < 5.9  # 10 tan 30


def test_elastic_bends_by_its_strength_and_leaves_the_middle_in_the_mean() -> None:
    weak, strong = (centres(changed(f"elastic:strength={s}", dot(), 1_000)) for s in (1, 2))
    # At a node the deviation is 4 % of 33 pixels; between nodes weights of less than 1 average.
    assert 0.5 < float(weak.std()) < 1.4
    assert float(strong.std() / weak.std()) == pytest.approx(2, abs=0.15)
    assert weak.mean(0).abs().max() < 0.1
    assert torch.allclose(changed("elastic:strength=0", dot(), 1), dot()[None], atol=1e-2)


def test_elastic_bends_smoothly() -> None:
    """A fold would put a pixel to the left of its left neighbour."""
    step = made("elastic:strength=1")
    ramp = torch.linspace(-1, 1, 33).expand(33, 33)
    grid = torch.stack([ramp, ramp.T], dim=-1)[None]

    class Draws:
        def normal(self, *shape: int) -> Tensor:
            return torch.randn(50, *shape, generator=torch.Generator().manual_seed(0))

    moved = step.warp(grid, Draws())
    assert (moved[:, :, 1:, 0] - moved[:, :, :-1, 0]).min() > -0.05
    second = moved[:, :, 2:] - 2 * moved[:, :, 1:-1] + moved[:, :, :-2]
    assert second.abs().max() < 0.05


def test_crop_shows_a_part_of_the_least_area() -> None:
    columns = torch.arange(64.0).expand(1, 64, 64)
    shown = changed("crop:least=0.25,ratio=1", columns)
    left, right = shown[:, 0, 32, 0], shown[:, 0, 32, -1]
    widths = (right - left) / 63
    assert 0.49 < float(widths.min()) < 0.53
    assert 0.97 < float(widths.max()) <= 1
    assert float(left.min()) >= 0
    assert float(right.max()) <= 63.01
    assert torch.allclose(changed("crop:least=1,ratio=1", columns, 1), columns[None], atol=1e-2)


@pytest.mark.parametrize("spec", ["flip", "flip:p=0.25", "flip:p=0", "flip:p=1"])
def test_flip_mirrors_a_share_of_the_images(spec: str) -> None:
    image = torch.arange(12.0).view(1, 3, 4)
    shown = changed(spec, image, 2_000)
    mirrored = (shown == image.flip(2)).all(3).all(2).all(1)
    kept = (shown == image).all(3).all(2).all(1)
    assert bool((mirrored | kept).all())
    wanted = {"flip": 0.5}.get(spec, float(spec.partition("=")[2] or 0))
    assert float(mirrored.float().mean()) == pytest.approx(wanted, abs=0.04)


def test_flip_may_turn_upside_down_by_itself() -> None:
    image = torch.arange(12.0).view(1, 3, 4)
    kinds = {tuple(one.flatten().tolist()) for one in changed("flip:vertical=true", image)}
    assert len(kinds) == 4


def test_erase_paints_a_rectangle_in_the_mean_colour() -> None:
    image = torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(0)) * 255
    mean = image.mean((1, 2)).view(3, 1, 1)
    shown = changed("erase:p=0.7,most=0.3,ratio=2", image, 1_000)
    lost = (shown != image).any(1)
    shares = lost.float().mean((1, 2))
    touched = shares > 0
    assert float(touched.float().mean()) == pytest.approx(0.7, abs=0.05)
    assert 0.02 < float(shares[touched].min()) < 0.045
    assert 0.27 < float(shares.max()) < 0.33
    for one, gone in zip(shown[touched][:50], lost[touched][:50], strict=True):
        rows, columns = gone.any(1).nonzero().flatten(), gone.any(0).nonzero().flatten()
        assert len(rows) * len(columns) == int(gone.sum())
        assert torch.allclose(one[:, gone], mean[:, 0].expand(-1, int(gone.sum())), atol=1e-3)


def test_rotations_as_classes_change_no_image_and_ask_for_orientations() -> None:
    step = made("rotations-as-classes:views=8")
    assert step.orientations == 8
    assert torch.equal(augmented(step, dot()[None]), dot()[None])


def test_torchvisions_draw_for_each_image() -> None:
    grey = torch.full((3, 8, 8), 100.0)
    shown = changed("torchvision.ColorJitter:brightness=0.5", grey, 40)
    assert len(shown.unique()) > 20
    assert 50 <= float(shown.min()) < float(shown.max()) <= 150
    ranged = changed("torchvision.ColorJitter:brightness=1.5+2", grey, 40)
    assert 149 <= float(ranged.min()) < float(ranged.max()) <= 200


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("affine:rotate=200", "'rotate' of augmentation 'affine' is from 0 to 180, not 200"),
        ("elastic:nodes=1", "from 2 to 64"),
        ("crop:least=0", "from 0.01 to 1"),
        ("erase:p=2", "from 0 to 1"),
        ("flip:q=1", "unknown option"),
        ("torchvision.Normalize", "unknown augmentation"),
        ("torchvision.RandomErasing:p=3", "torchvision.RandomErasing.*interval"),
        ("rotations-as-classes:views=5", "4|8"),
        ("torchvision.RandomCrop:size=99999", "torchvision.RandomCrop': .*larger than input"),
        ("torchvision.RandomCrop:size=16", r"\[1, 32, 32\] into others of \[1, 16, 16\]; give it"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(spec: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        made(spec)


@pytest.mark.parametrize("name", NAMES)
def test_every_transform_of_torchvision_can_be_named(name: str) -> None:
    needed = {
        "RandomAffine": "degrees=10", "RandomRotation": "degrees=10",
        "GaussianBlur": "kernel_size=3",
        "RandomAdjustSharpness": "sharpness_factor=2",
        "RandomCrop": "size=64,padding=2", "RandomPosterize": "bits=4",
        "RandomResizedCrop": "size=64", "RandomSolarize": "threshold=128",
    }.get(name, "")  # fmt: skip
    offers = {"in_channels": 3, "image_size": (64, 64)}
    step = REGISTRY.build("augmentation", Spec.parse(f"torchvision.{name}:{needed}"), offers)
    photo = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    assert augmented(step, photo.to(torch.uint8)).shape == photo.shape


def line(width: int) -> Tensor:
    """A light line across the middle."""
    image = torch.zeros(1, 21, 21)
    image[:, 10 - width // 2 : 11 + width // 2, 3:-3] = 200
    return image


@pytest.mark.parametrize(("thicker", "thinner"), [(2, 0), (0, 1), (1.5, 0.5), (0.3, 1.8)])
def test_stroke_moves_the_edges_of_lines_evenly_by_up_to_so_many_pixels(
    thicker: float, thinner: float
) -> None:
    found = changed(f"stroke:thicker={thicker},thinner={thinner}", line(5))
    # In the middle of the line, where its ends are far.
    moved = (found[:, 0, :, 10].sum(1) / 200 - 5) / 2
    assert moved.min() >= -thinner - 1e-4
    assert moved.max() <= thicker + 1e-4
    spread = (thicker + thinner) / MANY
    assert moved.min() < -thinner + 10 * spread
    assert moved.max() > thicker - 10 * spread
    assert float(moved.mean()) == pytest.approx((thicker - thinner) / 2, abs=0.15)
    assert found.min() >= 0
    assert found.max() <= 200


def test_a_stroke_of_another_width_is_that_of_a_naive_dilation() -> None:
    image = line(3) * torch.rand(1, 21, 21, generator=torch.Generator().manual_seed(0))
    found = Stroke(thicker=8, thinner=0)(image[None], Full())
    for row, column in ((10, 10), (2, 1), (20, 20), (0, 9)):
        around = image[0, max(0, row - 8) : row + 9, max(0, column - 8) : column + 9]
        assert found[0, 0, row, column] == around.max()


class Full:
    """Draws of the largest value."""

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.full((1, *shape), high)
