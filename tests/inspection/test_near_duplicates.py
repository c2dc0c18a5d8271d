"""Copies: found however they are stored, and not where two drawings merely resemble each other."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse.csgraph import connected_components
from sklearn.datasets import load_digits, load_sample_images

from metricforge.inspection import near_duplicates as module
from metricforge.inspection.near_duplicates import LEAST_CORRELATION, MOST_APART, likeness
from metricforge.inspection.survey import CELLS, SIDE, Survey, survey
from metricforge.recipes.dataset_spec import open_dataset
from metricforge.registry import Registry

STORED = {
    "jpeg": ({}, 1, "JPEG", {"quality": 40}),
    "webp": ({}, 1, "WEBP", {"quality": 60}),
    "png": ({}, 1, "PNG", {}),
    "half": ({}, 2, "JPEG", {"quality": 85}),
    "quarter": ({}, 4, "PNG", {}),
    "grey": ({"mode": "L"}, 1, "JPEG", {"quality": 85}),
}


def surveyed(thumbnails: NDArray[np.uint8], broken: dict[int, str] | None = None) -> Survey:
    """A survey of images of these thumbnails, no two of them the same bytes."""
    digests = np.arange(2 * len(thumbnails), dtype=np.uint64).reshape(-1, 2)
    cells = thumbnails.reshape(-1, CELLS, SIDE // CELLS, CELLS, SIDE // CELLS).mean((2, 4))
    colours = np.repeat(cells[:, None].round().astype(np.uint8), 3, axis=1)
    return Survey({}, broken or {}, digests, thumbnails, colours)


def scenes(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Thumbnails [count, SIDE, SIDE] of patches, each its own."""
    patches = np.random.default_rng(seed).integers(0, 256, (count, 4, 4), dtype=np.uint8)
    return patches.repeat(4, axis=1).repeat(4, axis=2)


def noisy(thumbnails: NDArray[np.uint8], seed: int = 1) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(-3, 4, thumbnails.shape)
    return (thumbnails.astype(int) + noise).clip(0, 255).astype(np.uint8)


def crops() -> list[Image.Image]:
    """Parts of two photographs that are not of sky or shade alone, none the same picture."""
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    corners = [(x, y) for y in (120, 270) for x in range(0, 480, 60)]
    parts = [photo.crop((x, y, x + 150, y + 150)) for photo in photos for x, y in corners]
    return [part for part in parts if np.asarray(part.convert("L")).std() > 20]


def stored(image: Image.Image, kind: str) -> bytes:
    changed, smaller, form, options = STORED[kind]
    image = image.convert(changed.get("mode", image.mode))
    image = image.resize((image.width // smaller, image.height // smaller))
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def places(sets: tuple[NDArray[np.int64], ...]) -> list[list[int]]:
    return [list(map(int, found)) for found in sets]


@pytest.mark.parametrize("kind", STORED)
def test_photographs_stored_otherwise_are_found_and_no_others(tmp_path: Path, kind: str) -> None:
    images = crops()
    assert len(images) > 20
    for place, image in enumerate(images):
        image.save(tmp_path / f"{place:02}.jpg", quality=92)
        (tmp_path / f"{place:02}-copy.img").write_bytes(stored(image, kind))
    files = sorted(tmp_path.iterdir())
    found = likeness(survey(files))
    assert places(found.alike) == [[2 * place, 2 * place + 1] for place in range(len(images))]
    assert found.identical == ()


def test_drawings_of_one_digit_are_not_copies() -> None:
    pixels = torch.from_numpy(load_digits().images * (255 / 16)).to(torch.uint8)
    found = likeness(survey(pixels[:, None]))
    assert sum(map(len, found.alike)) <= 4  # of 1,797
    assert found.crowded == 0


def test_drawings_of_one_character_are_not_copies(omniglot_root: Path) -> None:
    dataset = open_dataset("omniglot:background=small1", Registry.installed(), str(omniglot_root))
    found = likeness(survey(dataset.images))
    assert len(dataset) == 15_900
    assert len(found.sets) <= 2
    assert found.crowded == 0


def test_blank_images_are_copies_only_where_they_are_identical() -> None:
    blank = np.full((4, SIDE, SIDE), 250, np.uint8)
    blank[1, 3, 3] = 248
    found = surveyed(blank)
    found.digests[3] = found.digests[0]
    alike = likeness(found)
    assert alike.alike == ()
    assert places(alike.identical) == places(alike.sets) == [[0, 3]]


def test_a_set_has_all_copies_of_either_kind_once() -> None:
    thumbnails = np.concatenate([scenes(3), noisy(scenes(3))[:1], scenes(3)[:2]])
    found = surveyed(thumbnails)
    found.digests[4:6] = found.digests[:2]
    alike = likeness(found)
    assert places(alike.identical) == [[0, 4], [1, 5]]
    assert places(alike.alike) == [[0, 3, 4]]
    assert places(alike.sets) == [[0, 3, 4], [1, 5]]


def test_a_brighter_copy_is_found_and_the_negative_is_none() -> None:
    first = 40 + scenes(20) // 2
    brighter = likeness(surveyed(np.concatenate([first, 30 + (first * 1.1).astype(np.uint8)])))
    assert len(brighter.alike) == 20
    assert likeness(surveyed(np.concatenate([first, 255 - first]))).alike == ()


def test_broken_images_have_no_copies() -> None:
    found = surveyed(scenes(4), broken={1: "why", 3: "why"})
    found.digests[[1, 3]] = 0
    found.thumbnails[3] = found.thumbnails[0]
    assert likeness(found).sets == ()


def test_all_pairs_one_by_one_give_the_same_sets() -> None:
    rng = np.random.default_rng(3)
    # On the way from one picture to another: some are copies, some no longer.
    begin, end = scenes(16, seed=5).astype(float).reshape(2, 8, SIDE, SIDE)
    share = rng.uniform(0, 1, (15, 8, 1, 1))
    thumbnails = noisy((begin + (end - begin) * share).reshape(-1, SIDE, SIDE).astype(np.uint8))
    flat = thumbnails.reshape(len(thumbnails), -1).astype(float)
    scaled = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)
    joined = np.zeros((len(flat), len(flat)), bool)
    for a in range(len(flat)):
        for b in range(a):
            close = np.abs(scaled[a] - scaled[b]).max() <= MOST_APART
            joined[a, b] = close and (scaled[a] * scaled[b]).mean() >= LEAST_CORRELATION
    component = connected_components(joined, directed=False)[1]
    expected = {tuple(np.flatnonzero(component == label)) for label in set(component)}
    found = {tuple(each) for each in places(likeness(surveyed(thumbnails)).alike)}
    assert 20 < len(expected) < 100
    assert found == {each for each in expected if len(each) > 1}


def test_copies_are_found_among_many_that_share_most_of_their_look() -> None:
    shared = scenes(1, seed=9)[0].astype(int)
    many = (0.4 * shared + 0.6 * scenes(module._MANY + 500)).astype(np.uint8)
    many[-200:] = noisy(many[:200])
    found = likeness(surveyed(many))
    assert places(found.alike) == [[place, len(many) - 200 + place] for place in range(200)]
    assert found.crowded == 0


def test_a_crowd_that_can_not_all_be_compared_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = noisy(np.repeat(scenes(1), 50, axis=0))
    both = np.concatenate([crowd, scenes(30, seed=4)])
    assert likeness(surveyed(both)).crowded == 0
    monkeypatch.setattr(module, "_BUDGET", 0)
    monkeypatch.setattr(module, "_FEWEST", 3)
    found = likeness(surveyed(both))
    assert 40 <= found.crowded <= 50
    assert len(found.alike) == 1, "neighbours by hash still join most of it"


@pytest.mark.fault(100)
def test_one_cut_in_several_colours_is_no_picture_of_one(tmp_path: Path) -> None:
    """Rectangles at one place: of one colour they are copies, of two they are not."""
    colours = ((200, 30, 30), (30, 140, 60), (40, 60, 200), (25, 25, 25), (120, 40, 140))
    files = []
    for number, colour in enumerate(colours):
        for size in (300, 200):
            image = Image.new("RGB", (300, 300), "white")
            image.paste(colour, (100, 80, 200, 250))
            files.append(tmp_path / f"{number}-{size}.jpg")
            image.resize((size, size)).save(files[-1])
    pairs = [[first, first + 1] for first in range(0, len(files), 2)]
    assert places(likeness(survey(files)).alike) == pairs
