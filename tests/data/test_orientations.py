"""Orientations: each index gives the image it names, turned as it says."""

from __future__ import annotations

import pytest
import torch

from metricforge.data.images import MemoryImages
from metricforge.data.orientations import Oriented, oriented_labels
from metricforge.errors import UsageError

PICTURES = torch.randint(
    0, 255, (5, 2, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


@pytest.mark.parametrize("views", [1, 4, 8])
def test_every_index_is_one_image_in_one_orientation(views: int) -> None:
    oriented = Oriented(MemoryImages(PICTURES), views)
    assert len(oriented) == 5 * views
    order = torch.randperm(5 * views, generator=torch.Generator().manual_seed(1))
    for index, found in zip(order.tolist(), oriented.take(order), strict=True):
        image, view = divmod(index, views)
        expected = torch.rot90(PICTURES[image], view % 4, (1, 2))
        expected = expected.flip(2) if view >= 4 else expected
        assert torch.equal(found, expected)


def test_the_eight_orientations_of_an_image_all_differ() -> None:
    eight = Oriented(MemoryImages(PICTURES), 8).take(torch.arange(8))
    assert len({picture.numpy().tobytes() for picture in eight}) == 8
    assert torch.equal(eight[0], PICTURES[0])


def test_the_images_themselves_are_left_alone() -> None:
    before = PICTURES.clone()
    Oriented(MemoryImages(PICTURES), 8).take(torch.arange(40))
    assert torch.equal(PICTURES, before)


def test_labels_follow_the_indices() -> None:
    labels = torch.tensor([0, 1, 0])
    assert oriented_labels(labels, 4).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3]


def test_other_numbers_and_oblong_images_are_refused() -> None:
    with pytest.raises(UsageError, match="1, 4 or 8"):
        Oriented(MemoryImages(PICTURES), 3)
    with pytest.raises(UsageError, match="square"):
        Oriented(MemoryImages(PICTURES[:, :, :, :4]), 4)
