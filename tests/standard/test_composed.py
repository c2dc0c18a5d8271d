"""Classes composed of halves of two others."""

from __future__ import annotations

import torch
from metricforge_standard.datasets._composed import compositions, images_of

LABELS = torch.arange(6).repeat_interleave(3)
GROUPS = (LABELS >= 4).long()


def test_pairs_are_of_two_classes_of_a_group_and_as_many_as_asked_for() -> None:
    pairs = compositions(LABELS, GROUPS, 2.5)
    assert len(pairs) == 10 + 5
    assert all(first != second for first, second in pairs)
    assert all((first >= 4) == (second >= 4) for first, second in pairs)
    assert len(set(pairs[:10])) > 4
    assert compositions(LABELS, GROUPS, 2.5) == pairs
    assert compositions(LABELS, GROUPS, 0) == []
    assert compositions(LABELS, LABELS, 3) == []


def test_each_pixel_is_that_of_one_or_the_other_or_on_the_cut() -> None:
    images = torch.randint(0, 256, (18, 1, 20, 20), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    directions = set()
    for number in range(12):
        made = images_of((number, (1, 3)), images, LABELS)
        one, other = images[LABELS == 1], images[LABELS == 3]
        assert made.shape == one.shape
        assert made.dtype == torch.uint8
        # A pixel that differs from neither is told from no other; 255 of 256 are told.
        of_one, of_other = (made == one).all(0)[0], (made == other).all(0)[0]
        assert of_one.float().mean() > 0.2
        assert of_other.float().mean() > 0.2
        # The cut is about as long as a side.
        assert (~(of_one | of_other)).sum() <= 2 * 20
        low = torch.minimum(one, other)
        high = torch.maximum(one, other)
        assert ((made >= low) & (made <= high)).all()
        places = of_one.nonzero().float().mean(0) - of_other.nonzero().float().mean(0)
        directions.add(tuple(places.sign().int().tolist()))
    # On all sides of all cuts.
    assert len(directions) == 4


def test_where_one_class_has_fewer_images_so_has_what_is_composed() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1])
    images = torch.zeros(5, 1, 8, 8, dtype=torch.uint8)
    assert len(images_of((0, (0, 1)), images, labels)) == 2
